"""How the parts are put together: one cache per kind, and which key an event of another object wakes."""

from __future__ import annotations

import random
from typing import Any, cast

import msgspec
import pytest

from tests.support.shell import RUN_NAME, TARGET, run, running, wfe
from tests.support.stepping import HOME, ManualClock
from wfe_controller.api import names
from wfe_controller.app import wiring
from wfe_controller.app.config import Settings
from wfe_controller.app.exits import StartFailed
from wfe_controller.app.metrics import Metrics
from wfe_controller.kube.cache.cached import CachedObject, ObjectDecoder
from wfe_controller.kube.cache.store import WritableStore
from wfe_controller.kube.objects import Json, ObjectKey, Resource
from wfe_controller.workflows.world import BY_UID, index_uid


def cached(resource: Resource, obj: Json) -> CachedObject:
    return ObjectDecoder(resource)(msgspec.json.encode(obj))


def store(*objects: Json) -> WritableStore:
    made = WritableStore({BY_UID: index_uid})
    for obj in objects:
        made.put(cached(names.WORKFLOWEXECUTIONS, obj))
    return made


@pytest.mark.parametrize(
    ("found", "keys"),
    [
        (run(), [ObjectKey("ops", "cart-1")]),
        (run(owner=None, labels={names.OWNER_NAME: "cart-1"}), []),
        (run(owner=None, labels={names.OWNER_NAMESPACE: "ops"}), []),
        (run(owner=None, labels={names.OWNER_NAME: "cart-1", names.OWNER_NAMESPACE: "ops"}), []),
        (run(owner="uid-of-an-earlier-object"), []),
    ],
    ids=["by-uid", "T60-only-name", "T60-only-namespace", "T60-both-names", "T60-TH3-another-uid"],
)
def test_a_run_wakes_its_owner_by_uid(found: Json, keys: list[ObjectKey]) -> None:
    """T60: names in labels may be cut or reused; they lead nowhere."""
    assert list(wiring._owner_key(store(wfe()))(cached(names.PIPELINERUNS, found))) == keys


def test_a_run_without_an_object_wakes_the_lock_of_its_target() -> None:
    """TH18."""
    orphan = cached(names.PIPELINERUNS, run())
    lock = ObjectKey(HOME, names.lock_name(TARGET))
    assert lock.name == RUN_NAME
    assert list(wiring._lock_of_orphan(store(), HOME)(orphan)) == [lock]
    assert list(wiring._lock_of_orphan(store(wfe()), HOME)(orphan)) == []


def informers(settings: Settings) -> dict[str, Any]:
    made = wiring._informers(settings, cast(Any, None), HOME, ManualClock(), random.Random(1), Metrics())
    return cast(dict[str, Any], made)


def test_one_cache_per_kind() -> None:
    """I-72: shared by everything that reads it; a list of namespaces costs one each for our own kind only."""
    assert list(informers(Settings())) == ["workflowexecutions", "targetlocks", "pipelineruns", "taskruns", "pods"]
    some = Settings.model_validate({"controller": {"watchNamespaces": ["a", "b"]}})
    assert [name for name in informers(some) if name.startswith("workflow")] == [
        "workflowexecutions-a",
        "workflowexecutions-b",
    ]


def test_an_object_of_another_execution_namespace_refuses_the_start() -> None:
    """TH35, SPEC 8: its run would be looked for where it is not."""
    wiring._refuse_other_namespace(store(wfe(running())), "kubernaut-workflows")
    with pytest.raises(StartFailed, match=r"execution\.namespace"):
        wiring._refuse_other_namespace(store(wfe(running())), "elsewhere")
