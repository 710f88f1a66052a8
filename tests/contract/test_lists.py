"""Lists: pages, their expiry, resourceVersion and resourceVersionMatch, shapes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.contract.session import CORE, OURS, Session

NAMES = "metadata.name"


def three(api: Session) -> None:
    for name in ("a", "b", "c"):
        api.make(api.wfe(), api.execution(name))


def test_list_shape(api: Session) -> None:
    """Items of built-in kinds come without kind and apiVersion, those of custom ones with them."""
    three(api)
    api.get(api.wfe())
    api.make(api.path("secrets"), {"metadata": {"name": "s"}, "data": {"k": "dg=="}})
    api.get(api.path("secrets"))


def test_list_empty(api: Session) -> None:
    api.get(api.wfe())
    api.get(api.path("secrets"))


def test_list_of_a_missing_namespace_is_empty(api: Session) -> None:
    api.get(api.wfe(namespace="not-there"))
    api.get(api.cm(namespace="not-there"))


def test_list_is_sorted_by_namespace_and_name(api: Session) -> None:
    for name in ("b", "a-b", "a", "a.b", "a0"):
        api.make(api.wfe(), api.execution(name))
    api.get(api.wfe(), keep=NAMES)
    first, second = sorted((api.new_namespace("ONE"), api.new_namespace("TWO")))
    label = api.unique("l", "LABEL")
    for namespace, name in ((second, "a"), (first, "z"), (second, "c")):
        api.make(api.wfe(namespace=namespace), api.execution(name, labels={"run": label}))
    found = api.get(f"{OURS}/workflowexecutions", labelSelector=f"run={label}", quiet=True)
    assert [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in found["items"]] == [
        (first, "z"),
        (second, "a"),
        (second, "c"),
    ]


def test_list_of_one_namespace(api: Session) -> None:
    """Nothing of those before and after it."""
    places = [api.new_namespace(symbol) for symbol in ("ONE", "TWO", "THREE")]
    for namespace in places:
        api.make(api.wfe(namespace=namespace), api.execution())
    for namespace in places:
        found = api.get(api.wfe(namespace=namespace), quiet=True)
        assert [item["metadata"]["namespace"] for item in found["items"]] == [namespace]
    for namespace in ("default", "kube-system"):
        found = api.get(api.cm(namespace=namespace), quiet=True)
        assert {item["metadata"]["namespace"] for item in found["items"]} <= {namespace}


def test_list_in_pages(api: Session) -> None:
    """limit, continue, remainingItemCount; every page is of the version of the first one."""
    three(api)
    first = api.get(api.wfe(), limit=2, keep=NAMES)
    api.show("first", first["metadata"] | {"continue": bool(first["metadata"]["continue"]), "resourceVersion": ""})
    api.make(api.wfe(), api.execution("bb"))
    api.make(api.wfe(), api.execution("d"))
    token = first["metadata"]["continue"]
    api.symbols.alias(token, "TOKEN")
    last = api.get(api.wfe(), limit=2, keep=NAMES, **{"continue": token})
    assert last["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    api.show("last", last["metadata"] | {"resourceVersion": ""})


def test_list_in_pages_of_built_ins(api: Session) -> None:
    for name in ("a", "b", "c"):
        api.make(api.path("secrets"), {"metadata": {"name": name}})
    first = api.get(api.path("secrets"), limit=1, keep=NAMES)
    api.symbols.alias(first["metadata"]["continue"], "TOKEN")
    second = api.get(api.path("secrets"), limit=1, keep=NAMES, **{"continue": first["metadata"]["continue"]})
    api.symbols.alias(second["metadata"]["continue"], "SECOND TOKEN")
    third = api.get(api.path("secrets"), limit=1, keep=NAMES, **{"continue": second["metadata"]["continue"]})
    api.show("remaining", [page["metadata"].get("remainingItemCount") for page in (first, second, third)])


def test_list_in_pages_with_a_selector_does_not_count(api: Session) -> None:
    for name in ("a", "b", "c"):
        api.make(api.wfe(), api.execution(name, labels={"l": "1" if name != "b" else "2"}))
    first = api.get(api.wfe(), limit=1, labelSelector="l=1", keep=NAMES)
    api.show("metadata", sorted(first["metadata"]))
    api.symbols.alias(first["metadata"]["continue"], "TOKEN")
    api.get(api.wfe(), limit=1, labelSelector="l=1", keep=NAMES, **{"continue": first["metadata"]["continue"]})


def test_list_limit_that_fits(api: Session) -> None:
    three(api)
    found = api.get(api.wfe(), limit=3, keep=NAMES)
    api.show("metadata", found["metadata"] | {"resourceVersion": ""})
    api.get(api.wfe(), limit=0, keep=NAMES)


@pytest.mark.parametrize("limit", ["-1", "x", "1.5"])
def test_list_bad_limit(api: Session, limit: str) -> None:
    three(api)
    code = 200 if limit == "-1" else 400
    api.get(api.wfe(), code, limit=limit, keep=NAMES)


def test_list_bad_continue(api: Session) -> None:
    three(api)
    api.get(api.wfe(), 400, limit=1, **{"continue": "nonsense"})
    api.get(api.wfe(), 400, limit=1, **{"continue": "e30"})


def test_list_continue_with_a_version(api: Session) -> None:
    three(api)
    first = api.get(api.wfe(), limit=1, quiet=True)["metadata"]
    api.symbols.alias(first["continue"], "TOKEN")
    api.symbols.alias(f"'{first['resourceVersion']}'", "'RV'")
    api.get(api.wfe(), 400, limit=1, resourceVersion=first["resourceVersion"], **{"continue": first["continue"]})
    api.get(api.wfe(), 422, limit=1, resourceVersionMatch="Exact", resourceVersion="1", **{"continue": "x"})


def test_list_continue_of_another_kind(api: Session) -> None:
    """A token says where to go on, not of what."""
    three(api)
    for name in ("a", "b", "c"):
        api.make(api.cm(), api.config_map(name, labels={"mine": ""}))
    token = api.get(api.wfe(), limit=1, quiet=True)["metadata"]["continue"]
    found = api.get(api.cm(), limit=1, labelSelector="mine", quiet=True, **{"continue": token})
    assert [item["metadata"]["name"] for item in found["items"]] == ["b"]


def forged(token: str, **changes: object) -> str:
    """A continue token with other contents: waiting five minutes for a real one to expire is no test."""
    content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    return base64.urlsafe_b64encode(json.dumps({**content, **changes}).encode()).decode().rstrip("=")


def test_list_continue_expires(api: Session) -> None:
    """410 Expired with a token to go on from the newest version (an inconsistent list)."""
    three(api)
    token = api.get(api.wfe(), limit=1, quiet=True)["metadata"]["continue"]
    api.symbols.alias(forged(token, rv=1), "OLD TOKEN")
    api.make(api.wfe(), api.execution("b2"))
    api.server.forget()
    refused = api.get(api.wfe(), 410, limit=1, **{"continue": forged(token, rv=1)}, show=without_continue)
    fresh = refused["metadata"]["continue"]
    api.symbols.alias(fresh, "FRESH TOKEN")
    found = api.get(api.wfe(), keep=NAMES, **{"continue": fresh})
    assert [item["metadata"]["name"] for item in found["items"]] == ["b", "b2", "c"]


def without_continue(answer: Any) -> Any:
    return {**answer, "metadata": {key: bool(value) for key, value in answer["metadata"].items()}}


def test_list_continue_contents(api: Session) -> None:
    """Kubernetes calls it opaque; kept as it is so that a case can forge an expired one."""
    three(api)
    token = api.get(api.wfe(), limit=2, quiet=True)["metadata"]["continue"]
    api.symbols.alias(token, "TOKEN")
    content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    api.show("token", {**content, "rv": content["rv"] > 1})
    api.symbols.alias(forged(token, v="meta.k8s.io/v2"), "OTHER TOKEN")
    api.get(api.wfe(), 400, limit=2, **{"continue": forged(token, v="meta.k8s.io/v2")})


def test_list_at_any_version(api: Session) -> None:
    three(api)
    api.get(api.wfe(), keep=NAMES, resourceVersion="0")
    api.get(api.wfe(), keep=NAMES, resourceVersion="")


def test_list_not_older_than(api: Session) -> None:
    made = api.make(api.wfe(), api.execution("a"))
    version = made["metadata"]["resourceVersion"]
    api.make(api.wfe(), api.execution("b"))
    found = api.get(api.wfe(), keep=NAMES, resourceVersion=version)
    assert len(found["items"]) == 2
    api.get(api.wfe(), keep=NAMES, resourceVersion=version, resourceVersionMatch="NotOlderThan")


def test_list_exactly_at(api: Session) -> None:
    """What was there at that version, also deleted things, and the list says that version."""
    made = api.make(api.wfe(), api.execution("a"))
    version = made["metadata"]["resourceVersion"]
    api.make(api.wfe(), api.execution("b"))
    api.delete(api.wfe("a"), quiet=True)
    found = api.get(api.wfe(), keep=NAMES, resourceVersion=version, resourceVersionMatch="Exact")
    assert found["metadata"]["resourceVersion"] == version
    api.get(api.wfe(), keep=NAMES)


def test_list_exactly_at_a_forgotten_version(api: Session) -> None:
    version = api.make(api.wfe(), api.execution("a"))["metadata"]["resourceVersion"]
    api.make(api.wfe(), api.execution("b"))
    api.make(api.wfe(), api.execution("c"))
    api.server.forget()
    code = api.get(api.wfe(), 410, resourceVersion="1", resourceVersionMatch="Exact")["code"]
    assert (code, bool(version)) == (410, True)


@pytest.mark.parametrize("version", ["x", "-1", "1.0"])
def test_list_bad_version(api: Session, version: str) -> None:
    api.get(api.wfe(), 400, resourceVersion=version)


@pytest.mark.parametrize(
    ("version", "match"),
    [("", "Exact"), ("", "NotOlderThan"), ("0", "Exact"), ("5", "Newest"), ("", "")],
    ids=["exact-without", "not-older-without", "exact-zero", "unknown-match", "empty"],
)
def test_list_bad_match(api: Session, version: str, match: str) -> None:
    api.get(api.wfe(), 200 if not match else 422, resourceVersion=version, resourceVersionMatch=match)


def test_list_of_the_future(api: Session) -> None:
    """504 after a wait of three seconds, and when to come back."""
    api.get(api.wfe(), 504, resourceVersion="900000000")


def test_get_at_a_version(api: Session) -> None:
    made = api.make(api.wfe(), api.execution("a"))
    api.get(api.wfe("a"), keep=NAMES, resourceVersion="0")
    api.get(api.wfe("a"), keep=NAMES, resourceVersion=made["metadata"]["resourceVersion"])
    api.get(api.wfe("a"), 500, resourceVersion="x")


def test_list_all_namespaces(api: Session) -> None:
    label = api.unique("l", "LABEL")
    api.make(api.wfe(), api.execution("a", labels={"run": label}))
    other = api.new_namespace("OTHER")
    api.make(api.cm(namespace=other), api.config_map("b", labels={"run": label}))
    api.get(f"{OURS}/workflowexecutions", labelSelector=f"run={label}")
    api.get(f"{CORE}/configmaps", labelSelector=f"run={label}")


def test_list_version_never_goes_back(api: Session) -> None:
    before = int(api.get(api.wfe(), quiet=True)["metadata"]["resourceVersion"])
    made = int(api.make(api.wfe(), api.execution())["metadata"]["resourceVersion"])
    after = int(api.get(api.wfe(), quiet=True)["metadata"]["resourceVersion"])
    assert before < made <= after
    cm = int(api.make(api.cm(), api.config_map())["metadata"]["resourceVersion"])
    assert after < cm, "one counter for all kinds"


def test_list_from_the_cache_has_no_pages(api: Session) -> None:
    """Whoever takes any version gets all of it, whatever limit he names."""
    for name in "abc":
        made = api.make(api.cm(), api.config_map(name, labels={"x": "y"}))
    version = made["metadata"]["resourceVersion"]
    api.get(api.cm(), quiet=True, resourceVersion=version)  # the cache has seen all of them
    more = {"keep": "metadata.name", "limit": "2", "labelSelector": "x"}
    api.get(api.cm(), resourceVersion="0", **more)
    api.get(api.cm(), resourceVersion="0", resourceVersionMatch="NotOlderThan", **more)


@pytest.mark.parametrize("name", ["limit", "timeoutSeconds"])
def test_empty_numbers(api: Session, name: str) -> None:
    api.get(api.path("secrets"), 400, **{name: ""})


def test_list_of_mistakes(api: Session) -> None:
    """Several mistakes in the order of the real server."""
    api.get(api.cm(), 422, resourceVersionMatch="Exact", **{"continue": "abc"})
    api.get(api.cm(), 422, resourceVersionMatch="Nope", **{"continue": "abc"})
