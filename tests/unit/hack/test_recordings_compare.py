"""What counts as a difference between a recording and what is seen now: a comparison that forgives too much proves
nothing. Every change of one word in a recorded life of a pod is looked at."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from hack.recordings.__main__ import RECORDINGS
from hack.recordings.compare import difference, expanded, same

Object = dict[str, Any]


def recorded(name: str) -> Object:
    content: Object = yaml.safe_load((RECORDINGS / f"{name}.yaml").read_text())
    del content["about"]
    return content


def without(content: Object, number: int) -> Object:
    """As if that state of the pod had not been seen."""
    whole = expanded(content["pod"])
    return {"pod": [state for place, state in enumerate(whole) if place != number]}


@pytest.mark.parametrize("name", sorted(path.stem for path in (RECORDINGS / "pods").glob("*.yaml")))
def test_a_life_is_the_same_as_itself_and_as_itself_in_whole_states(name: str) -> None:
    content = recorded(f"pods/{name}")
    assert not difference(content, content)
    assert not difference({"pod": expanded(content["pod"])}, content)


def phases(content: Object) -> list[str]:
    return [state.get("phase", "gone") for state in expanded(content["pod"])]


def test_only_brief_states_may_be_missed() -> None:
    content = recorded("pods/deleted")
    assert phases(content) == ["Pending"] * 4 + ["Running", "Running", "Failed", "gone"]
    missed = [bool(difference(without(content, number), content)) for number in range(8)]
    # Before it runs; that it is told to go, and what its container ended with, a moment before it is gone.
    assert missed == [False] * 4 + [True, False, False, True]


def test_an_end_may_not_be_missed() -> None:
    content = recorded("pods/fails")
    assert phases(content)[-2:] == ["Running", "Failed"]
    assert difference(without(content, len(content["pod"]) - 1), content)


def test_the_sandbox_may_be_away_before_or_after_the_last_phase() -> None:
    content = recorded("pods/fails")
    other = expanded(copy.deepcopy(content["pod"]))
    other[-2]["phase"] = "Failed"
    assert not difference({"pod": other}, content)


def test_another_order_is_a_difference() -> None:
    content = recorded("pods/restarts")
    whole = expanded(content["pod"])
    assert difference({"pod": [*whole[:4], whole[5], whole[4], *whole[6:]]}, content)


def _changed(value: Any) -> list[Any]:
    """``value`` with one word changed, once for each."""
    if isinstance(value, dict):
        return [{**value, key: other} for key, item in value.items() for other in _changed(item)]
    if isinstance(value, list):
        return [[*value[:n], other, *value[n + 1 :]] for n, item in enumerate(value) for other in _changed(item)]
    return [not value] if isinstance(value, bool) else [f"{value}?" if isinstance(value, str) else 99]


@pytest.mark.parametrize("name", ["pods/two", "pods/restarts", "step-fails", "workloads/job-fails"])
def test_no_word_of_a_state_may_be_another(name: str) -> None:
    content = recorded(name)
    forgiven = [other for other in _changed(content) if same(other, content)]
    # Whether the sandbox is away is not told once all have ended: two writes of two loops.
    for other in forgiven:
        told = yaml.safe_dump(other)
        assert "PodReadyToStartContainers: True?" in told or "PodReadyToStartContainers: False?" in told
