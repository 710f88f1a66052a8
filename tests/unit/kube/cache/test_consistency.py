"""Read-your-writes (I-28): a key waits for its own writes, and for nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.watching import WFE, raw, wfe
from wfe_controller.kube.cache import CachedObject, Consistency, Fresh, ObjectDecoder, Waiting
from wfe_controller.kube.cache.store import WritableStore
from wfe_controller.kube.clock import LoopClock
from wfe_controller.kube.objects import PODS, ObjectKey

A, B = ObjectKey("ns", "a"), ObjectKey("ns", "b")
pytestmark = pytest.mark.looptime


def obj(name: str, version: int | str, **more: Any) -> CachedObject:
    return ObjectDecoder(WFE)(raw(wfe(name, version, **more)))


def world(version: str = "100") -> tuple[Consistency, WritableStore, WritableStore]:
    wfes, pods = WritableStore(), WritableStore()
    wfes.advance(version)
    pods.advance(version)
    return Consistency({WFE: wfes, PODS: pods}, LoopClock()), wfes, pods


async def test_waits_for_the_written_version_and_no_longer() -> None:
    """I-28."""
    consistency, wfes, _ = world()
    assert consistency.ready(A) == Fresh()
    consistency.wrote(A, WFE, "uid-a", "110")
    assert isinstance(consistency.ready(A), Waiting)
    assert consistency.ready(B) == Fresh(), "another key is not held back"
    wfes.put(obj("a", 105))
    assert isinstance(consistency.ready(A), Waiting)
    wfes.put(obj("a", 110))
    assert consistency.ready(A) == Fresh()
    assert len(consistency) == 0, "satisfied records are not kept"


async def test_any_later_event_or_bookmark_of_the_resource_satisfies() -> None:
    """Also when the object was deleted or replaced since: then its own version never comes."""
    consistency, wfes, _ = world()
    consistency.wrote(A, WFE, "uid-a", "110")
    wfes.advance("111")
    assert consistency.ready(A) == Fresh()


async def test_a_create_waits_while_the_cache_shows_the_predecessor() -> None:
    """I-16: an older object of another uid under the name is no proof of anything."""
    consistency, wfes, _ = world()
    wfes.put(obj("a", 101, uid="old"))
    consistency.wrote(A, WFE, "new", "110")
    waiting = consistency.ready(A)
    assert isinstance(waiting, Waiting)
    assert (waiting.uid, waiting.want, waiting.object_key) == ("new", "110", A)
    wfes.put(obj("a", 112, uid="newer"))
    assert consistency.ready(A) == Fresh()


async def test_children_wait_in_their_own_resource() -> None:
    """I-27: versions are never compared across resources."""
    consistency, wfes, pods = world()
    consistency.wrote(A, PODS, "p", "110", object_key=B)
    wfes.advance("500")
    waiting = consistency.ready(A)
    assert isinstance(waiting, Waiting)
    assert (waiting.resource, waiting.object_key) == (PODS, B)
    pods.advance("110")
    assert consistency.ready(A) == Fresh()


async def test_all_writes_of_a_key_count() -> None:
    consistency, wfes, pods = world()
    consistency.wrote(A, WFE, "u", "110")
    consistency.wrote(A, PODS, "p", "120", object_key=B)
    wfes.advance("110")
    assert isinstance(consistency.ready(A), Waiting)
    consistency.wrote(A, WFE, "u", "130")
    pods.advance("120")
    assert isinstance(consistency.ready(A), Waiting), "the later write replaced the earlier one"
    wfes.advance("130")
    assert consistency.ready(A) == Fresh()


@pytest.mark.parametrize(("have", "want"), [("abc", "110"), ("100", "abc"), ("", "110"), ("100", "0110")])
async def test_incomparable_versions_fail_open(have: str, want: str) -> None:
    """I-27"""
    consistency, _, _ = world(have)
    consistency.wrote(A, WFE, "u", want)
    assert consistency.ready(A) == Fresh()


async def test_what_is_not_cached_or_has_no_version_holds_nothing_back() -> None:
    wfes = WritableStore()
    wfes.advance("100")
    consistency = Consistency({WFE: wfes}, LoopClock())
    consistency.wrote(A, PODS, "p", "110")
    consistency.wrote(A, WFE, "u", "")
    assert consistency.ready(A) == Fresh()
    assert len(consistency) == 0


async def test_forget() -> None:
    consistency, _, _ = world()
    consistency.wrote(A, WFE, "u", "110")
    consistency.forget(A)
    consistency.forget(B)
    assert consistency.ready(A) == Fresh()


async def test_a_live_read_is_due_after_five_seconds_of_waiting() -> None:
    """Q1: counted from the first time the key was held back, not from the write; a new write starts anew."""
    consistency, _, _ = world()
    consistency.wrote(A, WFE, "u", "110")
    await asyncio.sleep(60)
    due = []
    for _ in range(3):
        waiting = consistency.ready(A)
        assert isinstance(waiting, Waiting)
        assert waiting.since == 60.0
        due.append(waiting.live_read_due)
        await asyncio.sleep(2.6)
    assert due == [False, False, True]
    consistency.wrote(A, WFE, "u", "111")
    waiting = consistency.ready(A)
    assert isinstance(waiting, Waiting)
    assert not waiting.live_read_due


async def test_the_longest_wait_decides() -> None:
    """One overdue write makes the live read due even when a newer one is not."""
    consistency, _, _ = world()
    consistency.wrote(A, WFE, "u", "110")
    consistency.ready(A)
    await asyncio.sleep(6)
    consistency.wrote(A, PODS, "p", "120", object_key=B)
    waiting = consistency.ready(A)
    assert isinstance(waiting, Waiting)
    assert (waiting.resource, waiting.live_read_due) == (WFE, True)


async def test_keys_that_are_no_objects_must_name_the_object() -> None:
    consistency, wfes, _ = world()
    with pytest.raises(TypeError, match="object_key is needed"):
        consistency.wrote("targets/x", WFE, "u", "110")
    consistency.wrote("targets/x", WFE, "u", "110", object_key=A)
    assert isinstance(consistency.ready("targets/x"), Waiting)
    wfes.advance("110")
    assert consistency.ready("targets/x") == Fresh()
