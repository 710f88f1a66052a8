"""DELETE: preconditions, propagation and garbage collection, collections."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.session import Session

OTHER_UID = "11111111-1111-1111-1111-111111111111"


def options(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "DeleteOptions", **fields}


def test_delete_answers_status(api: Session) -> None:
    """Success with name, group, kind and uid; a custom object likewise."""
    api.make(api.cm(), api.config_map())
    api.make(api.wfe(), api.execution())
    api.delete(api.cm("a"))
    api.delete(api.wfe("x"))
    api.get(api.cm("a"), 404)
    api.get(api.wfe("x"), 404)


def test_delete_missing(api: Session) -> None:
    api.delete(api.cm("a"), code=404)
    api.delete(api.wfe("x"), code=404)


def test_delete_what_answers_the_object(api: Session) -> None:
    """Service accounts, pods and a few others answer with the last object."""
    api.make(api.path("serviceaccounts"), {"metadata": {"name": "s"}})
    api.delete(api.path("serviceaccounts", "s"))
    api.make(api.path("secrets"), {"metadata": {"name": "s"}})
    api.delete(api.path("secrets", "s"))


@pytest.mark.parametrize("kind", ["uid", "resourceVersion"])
def test_delete_preconditions_not_met(api: Session, kind: str) -> None:
    api.make(api.cm(), api.config_map())
    api.make(api.wfe(), api.execution())
    value = OTHER_UID if kind == "uid" else "1"
    api.delete(api.cm("a"), options(preconditions={kind: value}), 409)
    api.delete(api.wfe("x"), options(preconditions={kind: value}), 409)
    api.get(api.wfe("x"), quiet=True)


def test_delete_preconditions_met(api: Session) -> None:
    meta = api.make(api.wfe(), api.execution())["metadata"]
    wanted = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
    api.delete(api.wfe("x"), options(preconditions=wanted))
    meta = api.make(api.cm(), api.config_map())["metadata"]
    api.delete(api.cm("a"), options(preconditions={"uid": meta["uid"]}))


def test_delete_dry_run(api: Session) -> None:
    api.make(api.cm(), api.config_map())
    api.delete(api.cm("a"), dryRun="All")
    api.delete(api.cm("a"), options(dryRun=["All"]))
    api.get(api.cm("a"))
    api.delete(api.cm("a"), options(dryRun=["Some"]), 422)
    api.delete(api.cm("a"), dryRun="some", code=422)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"propagationPolicy": "Sometimes"}, 422),
        ({"propagationPolicy": "Background", "orphanDependents": True}, 422),
        ({"gracePeriodSeconds": -1}, 200),
        ({"gracePeriodSeconds": "x"}, 400),
        ({"nothing": 1}, 200),
        ({"kind": "Secret"}, 400),
        ({"apiVersion": "meta.k8s.io/v1"}, 200),
        ({"kind": "", "apiVersion": ""}, 200),
    ],
    ids=["policy", "both", "negative-grace", "grace-text", "unknown-field", "kind", "meta-group", "no-kind"],
)
def test_delete_options(api: Session, fields: dict[str, Any], code: int) -> None:
    api.make(api.wfe(), api.execution())
    api.delete(api.wfe("x"), options(**fields), code)


def test_delete_options_in_the_query(api: Session) -> None:
    api.make(api.wfe(), api.execution(finalizers=["example.com/a"]))
    api.delete(api.wfe("x"), propagationPolicy="Foreground", keep="metadata")
    api.make(api.wfe(), api.execution("y"))
    api.delete(api.wfe("y"), propagationPolicy="nonsense", code=422)
    api.delete(api.wfe("y"), gracePeriodSeconds="x", code=400)


def test_delete_options_as_yaml(api: Session) -> None:
    api.make(api.wfe(), api.execution())
    api.delete(api.wfe("x"), b"propagationPolicy: Background\n", content_type="application/yaml", code=200)


def test_delete_body_that_is_garbage(api: Session) -> None:
    api.make(api.wfe(), api.execution())
    api.delete(api.wfe("x"), b"{garbage", 400)
    api.get(api.wfe("x"), quiet=True)


def owned(child: str, owner: Any, /, **more: Any) -> dict[str, Any]:
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        **more,
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": child, "ownerReferences": [reference]}}


def test_background_takes_dependents_later(api: Session) -> None:
    owner = api.make(api.wfe(), api.execution())
    api.make(api.cm(), owned("child", owner))
    api.make(api.cm(), owned("blocking", owner, blockOwnerDeletion=True, controller=True))
    api.delete(api.wfe("x"), options(propagationPolicy="Background"))
    api.get(api.wfe("x"), 404, quiet=True)
    api.until_gone(api.cm("child"))
    api.until_gone(api.cm("blocking"))


def test_background_is_the_default_for_custom_objects(api: Session) -> None:
    owner = api.make(api.wfe(), api.execution())
    api.make(api.cm(), owned("child", owner))
    api.delete(api.wfe("x"), quiet=True)
    api.until_gone(api.cm("child"))


def test_background_goes_down_all_levels(api: Session) -> None:
    owner = api.make(api.wfe(), api.execution())
    child = api.make(api.cm(), owned("child", owner))
    api.make(api.cm(), owned("grandchild", {**child, "apiVersion": "v1", "kind": "ConfigMap"}))
    api.delete(api.wfe("x"), quiet=True)
    api.until_gone(api.cm("grandchild"))


def test_orphan_leaves_dependents(api: Session) -> None:
    """The references are taken away before the owner goes."""
    owner = api.make(api.wfe(), api.execution())
    api.make(api.cm(), owned("child", owner))
    answer = api.delete(api.wfe("x"), options(propagationPolicy="Orphan"), keep="metadata")
    assert answer["metadata"]["finalizers"] == ["orphan"]
    api.until_gone(api.wfe("x"))
    api.get(api.cm("child"), keep="metadata.ownerReferences metadata.name")


def test_foreground_waits_for_blocking_dependents(api: Session) -> None:
    owner = api.make(api.wfe(), api.execution())
    child = owned("child", owner, blockOwnerDeletion=True)
    child["metadata"]["finalizers"] = ["example.com/hold"]
    api.make(api.cm(), child)
    answer = api.delete(api.wfe("x"), options(propagationPolicy="Foreground"), keep="metadata")
    assert answer["metadata"]["finalizers"] == ["foregroundDeletion"]
    held = api.until(api.cm("child"), lambda _, seen: "deletionTimestamp" in seen["metadata"], "the child's deletion")
    api.show("child", held["metadata"].get("finalizers"))
    api.get(api.wfe("x"), keep="metadata.finalizers")
    api.patch(api.cm("child"), {"metadata": {"finalizers": None}}, quiet=True)
    api.until_gone(api.wfe("x"))


def test_foreground_does_not_wait_for_others(api: Session) -> None:
    owner = api.make(api.wfe(), api.execution())
    child = owned("child", owner)
    child["metadata"]["finalizers"] = ["example.com/hold"]
    api.make(api.cm(), child)
    api.delete(api.wfe("x"), options(propagationPolicy="Foreground"), quiet=True)
    api.until_gone(api.wfe("x"))
    api.until(api.cm("child"), lambda _, seen: "deletionTimestamp" in seen["metadata"], "the child's deletion")


def test_foreground_without_dependents(api: Session) -> None:
    api.make(api.wfe(), api.execution())
    api.delete(api.wfe("x"), options(propagationPolicy="Foreground"), keep="metadata")
    api.until_gone(api.wfe("x"))


def test_a_dependent_with_another_owner_stays(api: Session) -> None:
    """Only the dead reference goes."""
    first = api.make(api.wfe(), api.execution("one"))
    second = api.make(api.wfe(), api.execution("two"))
    child = owned("child", first)
    child["metadata"]["ownerReferences"] += owned("child", second)["metadata"]["ownerReferences"]
    api.make(api.cm(), child)
    api.delete(api.wfe("one"), quiet=True)
    api.until(api.cm("child"), lambda _, seen: len(seen["metadata"]["ownerReferences"]) == 1, "the lost reference")
    api.get(api.cm("child"), keep="metadata.ownerReferences")


def test_an_owner_of_another_uid_does_not_count(api: Session) -> None:
    """GC goes by uid: a reference to a name that lives, with the uid of one that is gone, is dead."""
    gone = api.make(api.wfe(), api.execution())
    api.delete(api.wfe("x"), quiet=True)
    api.make(api.wfe(), api.execution())
    api.make(api.cm(), owned("child", gone))
    api.until_gone(api.cm("child"))


def test_a_dependent_of_nobody_goes_at_once(api: Session) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "never", "uid": OTHER_UID}}
    api.make(api.cm(), owned("child", owner))
    api.until_gone(api.cm("child"))


@pytest.mark.parametrize(
    "change",
    [
        {"apiVersion": ""},
        {"kind": ""},
        {"name": ""},
        {"uid": ""},
        {"apiVersion": "a/b/c"},
        {"kind": "Event", "apiVersion": "v1"},
    ],
    ids=["version", "kind", "name", "uid", "two-slashes", "event"],
)
def test_owner_references_are_checked(api: Session, change: dict[str, str]) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "uid": OTHER_UID}}
    body = owned("child", owner, **change)
    api.post(api.cm(), body, 422)


def test_owner_references_have_one_controller(api: Session) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "uid": OTHER_UID}}
    body = owned("child", owner, controller=True)
    body["metadata"]["ownerReferences"].append({**body["metadata"]["ownerReferences"][0], "uid": OTHER_UID[:-1] + "2"})
    api.post(api.cm(), body, 422)
    api.post(api.wfe(), api.execution(ownerReferences=body["metadata"]["ownerReferences"]), 422)


def test_owner_references_twice_the_same(api: Session) -> None:
    owner = api.make(api.wfe(), api.execution())
    body = owned("child", owner)
    body["metadata"]["ownerReferences"] *= 2
    api.post(api.cm(), body)


def test_delete_collection(api: Session) -> None:
    for name in ("a", "b", "c"):
        api.make(api.wfe(), api.execution(name, labels={"l": name}))
    api.delete(api.wfe(), labelSelector="l in (a, b)")
    api.get(api.wfe(), keep="metadata.name")
    api.delete(api.wfe(), fieldSelector="metadata.name=nothing")
    api.delete(api.wfe(), dryRun="All")
    api.get(api.wfe(), keep="metadata.name")
    api.delete(api.wfe())
    api.get(api.wfe(), keep="metadata.name")


def test_delete_collection_of_built_ins(api: Session) -> None:
    api.make(api.cm(), api.config_map("a", labels={"l": "1"}))
    api.delete(api.cm(), labelSelector="l=1")
    api.delete(api.cm(), code=400, labelSelector="l=1=2")
    api.delete("/api/v1/configmaps", code=405)


def test_delete_collection_with_finalizers(api: Session) -> None:
    api.make(api.wfe(), api.execution("a", finalizers=["example.com/a"]))
    api.delete(api.wfe())
    api.get(api.wfe(), keep="metadata.name metadata.finalizers metadata.deletionGracePeriodSeconds")


BODIES = {
    "uid-number": {"preconditions": {"uid": 5}},
    "version-number": {"preconditions": {"resourceVersion": 5}},
    "preconditions-text": {"preconditions": "x"},
    "grace-fraction": {"gracePeriodSeconds": 1.5},
    "kind-number": {"kind": 5},
    "version-of-the-kind-number": {"apiVersion": 5},
    "dry-run-number": {"dryRun": [5]},
    "policy-number": {"propagationPolicy": 5},
    "list": [],
    "text": "x",
    "number": 5,
}


@pytest.mark.parametrize("name", BODIES)
def test_delete_bodies_of_wrong_types(api: Session, name: str) -> None:
    """Nothing is deleted by options that nobody can read."""
    api.make(api.cm(), api.config_map())
    api.make(api.wfe(), api.execution("a"))
    for path in (api.cm("a"), api.wfe("a")):
        api.delete(path, json.dumps(BODIES[name]).encode(), 400)
        api.get(path, keep="metadata.name")


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("propagationPolicy", "", 422),
        ("dryRun", "", 422),
        ("dryRun", ["All", "x"], 422),
        ("gracePeriodSeconds", "", 400),
        ("orphanDependents", "", 200),
        ("preconditions", "x", 200),
        ("preconditions.uid", "x", 200),
    ],
    ids=["empty-policy", "empty-dry-run", "two-dry-runs", "empty-grace", "empty-orphan", "preconditions", "uid"],
)
def test_delete_queries(api: Session, name: str, value: Any, code: int) -> None:
    """Preconditions do not count there; everything else does, also when it is empty."""
    api.make(api.cm(), api.config_map())
    api.delete(api.cm("a"), None, code, **{name: value})
