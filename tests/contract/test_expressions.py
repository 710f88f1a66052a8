"""Regular expressions of CRDs: which are refused and how, and what they match. Go's, in time linear in the text."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.session import Session

Json = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "expressions.example.com"


def definition(**patterns: str) -> Json:
    """A kind with a field for each pattern."""
    fields = {name: {"type": "string", "pattern": pattern} for name, pattern in patterns.items()}
    spec = {"type": "object", "properties": fields}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"plural": "expressions", "kind": "Expression"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"expressions.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


BROKEN = {
    "class-open": "[a-",
    "group-open": "(a",
    "group-closed": "a)",
    "looking-ahead": "(?=x)",
    "behind-itself": r"(a)\1",
    "counts-down": "a{2,1}",
    "counts-far": "a{1001}",
    "repeats-repeats": "x**",
    "repeats-nothing": "*a",
    "range-down": "[z-a]",
    "end-of-others": r"a\Z",
    "backslash-last": "a\\",
    "group-unnamed": "(?P<>a)",
    "class-unknown": "[[:nothing:]]",
}  # fmt: skip


@pytest.mark.parametrize("pattern", BROKEN.values(), ids=BROKEN.keys())
def test_broken_pattern_is_refused(api: Session, pattern: str) -> None:
    api.post(CRDS, definition(field=pattern), 422)


def test_patterns_are_read_as_go_reads_them(api: Session) -> None:
    """The end is the very end, classes have names, digits are ASCII, and none tries a way twice (`slow`)."""
    kinds = definition(
        end="^a$", posix="^[[:alpha:]]+$", digits=r"^\d+$", letters=r"^\pL+$", bracket="^[]a[]+$", slow="^(a+)+$",
        name="^(?P<n>a)$", case="(?i)^abc$", lines="(?s)^a.b$",
    )  # fmt: skip
    found = api.call("POST", CRDS, kinds, 0, any_code=True, quiet=True)
    assert found.get("kind") == "CustomResourceDefinition" or found.get("reason") == "AlreadyExists", found
    path = api.path("expressions", group=f"{GROUP}/v1")
    api.until(path, lambda code, _: code == 200, "the kind")
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Expression", "metadata": {"name": "e"}}
    good = {"end": "a", "posix": "abc", "digits": "123", "letters": "äé", "bracket": "[]a", "slow": "a" * 60,
            "name": "a", "case": "aBc", "lines": "a\nb"}  # fmt: skip
    api.post(path, {**body, "spec": good}, keep="spec")
    bad = {"end": "a\n", "posix": "ab1", "digits": "١٢٣", "letters": "a1", "bracket": "[]b", "slow": "a" * 60 + "!"}
    for field, value in bad.items():
        api.post(path, {**body, "metadata": {"name": f"e-{field}"}, "spec": {field: value}}, 422)
