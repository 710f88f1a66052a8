"""Creating and reading single objects."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.session import OURS, Session


def test_create_fills_in_metadata(api: Session) -> None:
    """201, and uid, resourceVersion, creationTimestamp come from the server."""
    made = api.post(api.cm(), api.config_map("a", {"k": "v"}))
    assert made == api.get(api.cm("a"))
    assert int(made["metadata"]["resourceVersion"]) > 0


def test_create_custom_object_has_generation(api: Session) -> None:
    made = api.post(api.wfe(), api.execution())
    assert made["metadata"]["generation"] == 1
    api.get(api.wfe("x"))


def test_create_drops_what_the_server_owns(api: Session) -> None:
    """uid, creationTimestamp, generation, selfLink, deletionTimestamp of the client do not count."""
    meta = {
        "uid": "11111111-1111-1111-1111-111111111111",
        "creationTimestamp": "2001-01-01T00:00:00Z",
        "generation": 7,
        "selfLink": "/x",
        "deletionTimestamp": "2001-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 5,
    }
    made = api.post(api.wfe(), api.execution(**meta))
    assert made["metadata"]["uid"] != meta["uid"]
    assert made["metadata"]["creationTimestamp"] > "2020"
    api.post(api.cm(), api.config_map(**meta))


def test_create_with_resource_version(api: Session) -> None:
    api.post(api.cm(), api.config_map(resourceVersion="5"), 500)
    api.post(api.wfe(), api.execution(resourceVersion="5"), 500)


def test_create_name_taken(api: Session) -> None:
    api.make(api.cm(), api.config_map())
    api.post(api.cm(), api.config_map(), 409)
    api.make(api.wfe(), api.execution())
    api.post(api.wfe(), api.execution(), 409)


def test_create_without_name(api: Session) -> None:
    api.post(api.cm(), {"apiVersion": "v1", "kind": "ConfigMap"}, 422)
    body = api.execution()
    del body["metadata"]
    api.post(api.wfe(), body, 422)


def test_create_generate_name(api: Session) -> None:
    """Five characters of an alphabet without vowels and look-alikes behind the prefix."""
    body = api.config_map(generateName="gen-")
    del body["metadata"]["name"]
    made = api.post(api.cm(), body, quiet=True)
    name = made["metadata"]["name"]
    assert len(name) == len("gen-") + 5
    assert set(name[4:]) <= set("bcdfghjklmnpqrstvwxz2456789")
    api.symbols.alias(name, "gen-XXXXX")
    api.get(api.cm(name))
    other = api.post(api.cm(), body, quiet=True)
    assert other["metadata"]["name"] != name


def test_create_name_wins_over_generate_name(api: Session) -> None:
    api.post(api.cm(), api.config_map(generateName="gen-"))


def test_create_generate_name_cuts_long_prefixes(api: Session) -> None:
    body = api.execution(generateName="g" * 200)
    del body["metadata"]["name"]
    made = api.post(api.wfe(), body, quiet=True)
    name = made["metadata"]["name"]
    api.show("length", len(name))
    assert name.startswith("g" * 58)


def test_create_at_a_name_is_not_allowed(api: Session) -> None:
    """Of a custom object it is: the name in the path is not looked at."""
    api.post(api.cm("a"), api.config_map(), 405)
    api.post(api.wfe("y"), api.execution())
    api.get(api.wfe("y"), 404)


def test_create_in_another_namespace_than_the_path(api: Session) -> None:
    api.post(api.cm(), api.config_map(namespace="default"), 400)
    api.post(api.wfe(), api.execution(namespace="default"), 400)


def test_create_takes_the_namespace_of_the_path(api: Session) -> None:
    assert api.post(api.cm(), api.config_map())["metadata"]["namespace"] == api.ns


def test_create_in_a_missing_namespace(api: Session) -> None:
    api.post(api.cm(namespace="not-there"), api.config_map(), 404)
    api.post(api.wfe(namespace="not-there"), api.execution(), 404)


def test_create_without_a_namespace_in_the_path(api: Session) -> None:
    api.post("/api/v1/configmaps", api.config_map(), 405)
    api.post(f"{OURS}/workflowexecutions", api.execution(namespace="default"), 404)


def test_create_another_kind_than_the_path(api: Session) -> None:
    api.post(api.cm(), {**api.config_map(), "kind": "Secret"}, 400)
    api.post(api.wfe(), {**api.execution(), "kind": "TargetLock"}, 422)


def test_create_another_version_than_the_path(api: Session) -> None:
    api.post(api.cm(), {**api.config_map(), "apiVersion": "v2"}, 400)
    api.post(api.wfe(), {**api.execution(), "apiVersion": "kubernaut.ai/v1"}, 400)
    api.post(api.cm(), {**api.config_map(), "apiVersion": "kubernaut.ai/v1alpha1"}, 400)


def test_create_without_kind_is_completed_for_built_ins(api: Session) -> None:
    body = api.config_map()
    del body["kind"], body["apiVersion"]
    api.post(api.cm(), body)


def test_create_without_kind_of_a_custom_object(api: Session) -> None:
    body = api.execution()
    del body["kind"], body["apiVersion"]
    api.post(api.wfe(), body, 400)


def test_get_missing(api: Session) -> None:
    api.get(api.cm("nope"), 404)
    api.get(api.wfe("nope"), 404)
    api.get("/api/v1/namespaces/nope-at-all", 404)
    api.get(api.cm("nope", namespace="not-there"), 404)


def test_get_unknown_resource(api: Session) -> None:
    """No Status but a bare text: nothing serves that path."""
    api.get(api.path("widgets"), 404)
    api.get(api.path("widgets", "x", "example.com/v1"), 404)
    api.get(api.path("workflowexecutions", "x", "kubernaut.ai/v2"), 404)
    api.get("/nothing", 404)
    api.get("/api/v2", 404)


def test_get_unknown_subresource(api: Session) -> None:
    api.make(api.cm(), api.config_map())
    api.make(api.wfe(), api.execution())
    api.get(api.cm("a") + "/status", 404)
    api.get(api.wfe("x") + "/scale", 404)
    api.get(api.wfe("x") + "/nothing", 404)
    api.get(api.wfe("x") + "/nothing/deep", 404)
    api.get(api.cm("a") + "/status/deep", 404)


def test_get_status_subresource(api: Session) -> None:
    """The status endpoint shows the whole object."""
    made = api.make(api.wfe(), api.execution())
    assert api.get(api.wfe("x") + "/status") == made


@pytest.mark.parametrize("accept", ["*/*", "", "text/html, application/json;q=0.9"])
def test_get_accepts(api: Session, accept: str) -> None:
    api.make(api.cm(), api.config_map())
    api.get(api.cm("a"), accept=accept or None)


@pytest.mark.parametrize("accept", ["text/html", "application/xml"])
def test_get_accepts_nothing_we_have(api: Session, accept: str) -> None:
    api.make(api.wfe(), api.execution())
    api.get(api.wfe("x"), 406, accept=accept)
    api.get(api.wfe(), 406, accept=accept)


def test_get_accepts_half_a_wildcard(api: Session) -> None:
    """Known to the handler of custom objects only."""
    api.make(api.wfe(), api.execution())
    api.get(api.wfe("x"), accept="application/*")
    api.get(api.cm("x"), 406, accept="application/*")


def test_get_yaml(api: Session) -> None:
    api.make(api.cm(), api.config_map("a", {"k": "v", "n": "12", "multi": "a\nb\n"}))
    api.get(api.cm("a"), accept="application/yaml", show=lambda text: "ConfigMap" in text)
    api.get(api.cm("nope"), 404, accept="application/yaml")


def test_create_from_yaml_with_a_name_that_is_true(api: Session) -> None:
    """YAML 1.1: a bare y is a boolean."""
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y\n"
    api.post(api.cm(), body, 400, content_type="application/yaml")


def test_create_from_yaml(api: Session) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: why\ndata:\n  a: 'yes'\n  b: |\n    two\n    lines\n"
    api.post(api.cm(), body, content_type="application/yaml")


def test_get_pretty(api: Session) -> None:
    api.make(api.cm(), api.config_map("a", {"k": "v"}))
    text = api.wire.exchange("GET", api.head("GET", api.cm("a") + "?pretty=true") + b"\r\n").body.decode()
    api.show("lines", [line for line in text.splitlines() if line.strip().startswith(('"kind"', '"k"'))])


def test_head_is_get_without_body(api: Session) -> None:
    api.make(api.cm(), api.config_map())
    answer = api.wire.exchange("HEAD", api.head("HEAD", api.cm("a")) + b"\r\n")
    api.show("head", [answer.status, len(answer.body), answer.headers.get("content-type")])


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
def test_methods_on_a_collection(api: Session, method: str) -> None:
    api.call(method, api.cm(), None, 405)
    api.call(method, api.wfe(), None, 405)


def test_put_and_patch_on_a_collection(api: Session) -> None:
    api.put(api.cm(), api.config_map(), 405)
    api.patch(api.cm(), {}, code=405)
    api.put(api.wfe(), api.execution(), 400)
    api.patch(api.wfe(), {}, code=400)


def test_methods_on_an_object(api: Session) -> None:
    api.call("TRACE", api.cm("a"), None, 405)
    api.call("TRACE", api.wfe("x"), None, 405)
    api.post(api.cm("a"), {}, 405)
    api.post(api.wfe("x"), {}, 400)
    api.post(api.wfe("x") + "/status", {}, 405)


def test_delete_and_create_on_status_are_not_allowed(api: Session) -> None:
    api.make(api.wfe(), api.execution())
    api.delete(api.wfe("x") + "/status", code=405)


def test_create_dry_run_with_a_version(api: Session) -> None:
    """It is the storage that minds."""
    api.post(api.cm(), api.config_map(resourceVersion="5"), dryRun="All", show=version)
    api.post(api.wfe(), api.execution(resourceVersion="x"), dryRun="All", show=version)


def version(seen: dict[str, Any]) -> Any:
    return seen["metadata"]["resourceVersion"]


@pytest.mark.parametrize("replicas", [1.0, 100.0, 3.5, 2**31])
def test_integers_of_built_ins(api: Session, replicas: float) -> None:
    """A Go struct takes no 1.0 for an integer."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "d"}, "spec": spec}
    api.post(api.path("replicasets", group="apps/v1"), body, 400, dryRun="All")


def test_bytes_as_numbers(api: Session) -> None:
    api.post(api.cm(), {**api.config_map(), "binaryData": {"k": [0, 255, None]}}, keep="binaryData")
    api.post(api.cm(), {**api.config_map("b"), "binaryData": {"k": [256]}}, 400)
    api.post(api.cm(), {**api.config_map("b"), "binaryData": {"k": ["x"]}}, 400)


def test_negative_generation(api: Session) -> None:
    api.post(api.cm(), api.config_map(generation=-1), 422)
