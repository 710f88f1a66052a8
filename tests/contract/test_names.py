"""Names, generated names, labels, annotations."""

from __future__ import annotations

import pytest

from tests.contract.session import Session

NAMES = {
    "upper": "Upper",
    "underscore": "a_b",
    "dash-first": "-a",
    "dash-last": "a-",
    "dot-last": "a.",
    "two-dots": "a..b",
    "too-long": "x" * 254,
    "space": "a b",
    "slash": "a/b",
    "percent": "a%b",
    "umlaut": "ä",
    "dot": ".",
    "two-dots-only": "..",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_bad_names(api: Session, name: str) -> None:
    api.post(api.cm(), api.config_map(name), 422)
    api.post(api.wfe(), api.execution(name), 422)


@pytest.mark.parametrize("name", ["a", "0", "a.b", "a-b.c-d", "x" * 253])
def test_good_names(api: Session, name: str) -> None:
    api.post(api.cm(), api.config_map(name), keep="metadata.name")
    api.post(api.wfe(), api.execution(name), keep="metadata.name")
    api.get(api.wfe(name), keep="metadata.name")


@pytest.mark.parametrize("prefix", ["Upper-", "a_", "-a", "a/"])
def test_bad_generate_names(api: Session, prefix: str) -> None:
    """The made up name is part of the message, so only its rule is compared."""

    def without_name(answer: object) -> object:
        assert isinstance(answer, dict)
        return [answer["reason"], sorted([cause["field"], cause["reason"]] for cause in answer["details"]["causes"])]

    api.post(api.cm(), {"metadata": {"generateName": prefix}}, 422, show=without_name)
    body = api.execution(generateName=prefix)
    del body["metadata"]["name"]
    api.post(api.wfe(), body, 422, show=without_name)


def test_role_names_are_freer(api: Session) -> None:
    path = api.path("roles", group="rbac.authorization.k8s.io/v1")
    api.post(path, {"metadata": {"name": "system:Some:role"}, "rules": []}, keep="metadata.name")
    api.post(path, {"metadata": {"name": "a%b"}, "rules": []}, 422)
    api.get(f"{path}/system:Some:role", keep="metadata.name")


LABELS = {
    "value-space": {"a": "b c"},
    "value-long": {"a": "x" * 64},
    "value-dash": {"a": "-b"},
    "value-slash": {"a": "b/c"},
    "key-space": {"a b": "c"},
    "key-long": {"x" * 64: "c"},
    "key-empty": {"": "c"},
    "prefix-upper": {"Example.com/a": "c"},
    "prefix-empty": {"/a": "c"},
    "two-slashes": {"a/b/c": "d"},
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_bad_labels(api: Session, labels: dict[str, str]) -> None:
    api.post(api.cm(), api.config_map(labels=labels), 422)
    api.post(api.wfe(), api.execution(labels=labels), 422)


def test_good_labels(api: Session) -> None:
    labels = {"a": "", "example.com/a-b_c.D": "x" * 63, "A": "0", "x" * 63: "y"}
    api.post(api.cm(), api.config_map(labels=labels), keep="metadata.labels")
    api.post(api.wfe(), api.execution(labels=labels), keep="metadata.labels")


@pytest.mark.parametrize("labels", ["text", ["a"], {"a": 1}, {"a": None}, {"a": {"b": "c"}}, 5])
def test_labels_of_a_wrong_type(api: Session, labels: object) -> None:
    code = 201 if labels == {"a": None} else 400
    api.post(api.cm(), api.config_map(labels=labels), code, keep="metadata.labels")
    api.post(api.wfe(), api.execution(labels=labels), code, keep="metadata.labels")


@pytest.mark.parametrize(
    "annotations",
    [{"a b": "c"}, {"": "c"}, {"a/b/c": "d"}, {"x" * 64: "y"}],
    ids=["space", "empty", "two-slashes", "long"],
)
def test_bad_annotations(api: Session, annotations: dict[str, str]) -> None:
    api.post(api.cm(), api.config_map(annotations=annotations), 422)
    api.post(api.wfe(), api.execution(annotations=annotations), 422)


def test_annotations_have_room(api: Session) -> None:
    """256 KiB of keys and values together; a key may have capitals."""
    api.post(api.cm(), api.config_map(annotations={"Example.com/X": "any thing ä\n"}), keep="metadata.annotations")
    api.post(api.cm(), api.config_map("b", annotations={"a": "x" * (256 * 1024)}), 422)
    api.post(api.cm(), api.config_map("b", annotations={"a": "x" * (256 * 1024 - 1)}), keep="metadata.name")
    api.post(api.wfe(), api.execution("b", annotations={"a": "x" * (256 * 1024)}), 422)


@pytest.mark.parametrize("field", ["name", "namespace", "annotations", "finalizers", "ownerReferences", "uid"])
def test_metadata_of_a_wrong_type(api: Session, field: str) -> None:
    api.post(api.cm(), {"metadata": {"name": "a", field: 5}}, 400)
    body = api.execution()
    body["metadata"][field] = 5
    api.post(api.wfe(), body, 400)


@pytest.mark.parametrize("metadata", ["text", [], None, 5])
def test_metadata_that_is_no_object(api: Session, metadata: object) -> None:
    code = 422 if metadata is None else 400
    api.post(api.cm(), {"metadata": metadata}, code)
    body = api.execution()
    body["metadata"] = metadata
    api.post(api.wfe(), body, code)
