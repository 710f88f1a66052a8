"""What a container is told to do, and where that stands."""

from __future__ import annotations

from typing import Any

import pytest

from wfe_controller.sandbox.simulators import play
from wfe_controller.sandbox.simulators.play import DEFAULT, FOREVER, Play, plays_of


def pod(
    *containers: dict[str, Any], annotations: dict[str, str] | None = None, policy: str = "Never"
) -> dict[str, Any]:
    meta = {"name": "p", "namespace": "n", "annotations": annotations or {}}
    return {"metadata": meta, "spec": {"restartPolicy": policy, "containers": list(containers)}}


def told(name: str, raw: str) -> dict[str, Any]:
    return {"name": name, "env": [{"name": "OTHER", "value": "x"}, {"name": play.ENVIRONMENT, "value": raw}]}


def test_a_play_survives_the_way_through_an_environment_variable() -> None:
    there = Play(seconds=0.5, exit_code=3, log='it said "no"\n', results={"a": "$(params.b)"})
    assert play.decode(play.encode(there)) == there
    assert play.encode(Play()) == "{}"


def test_the_container_says_it_before_the_pod_does() -> None:
    both = pod(told("one", '{"exitCode":3}'), {"name": "two"}, annotations={play.ANNOTATION: '{"hang":true}'})
    assert plays_of(both) == {"one": Play(exit_code=3), "two": Play(hang=True)}


@pytest.mark.parametrize(("policy", "expected"), [("Never", DEFAULT), ("OnFailure", DEFAULT), ("Always", FOREVER)])
def test_what_is_restarted_when_it_ends_runs_for_ever_by_itself(policy: str, expected: Play) -> None:
    assert plays_of(pod({"name": "one"}, policy=policy)) == {"one": expected}


@pytest.mark.parametrize("raw", ["{", '{"secnds":1}', '{"seconds":"long"}', "[]"])
def test_a_word_that_cannot_be_read_counts_as_none(raw: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        play.decode(raw)
    assert plays_of(pod(told("one", raw))) == {"one": DEFAULT}


def test_exit_codes_of_the_attempts() -> None:
    assert [Play(failures=2).exit(n) for n in range(4)] == [1, 1, 0, 0]
    assert [Play(failures=1, exit_code=4).exit(n) for n in range(2)] == [4, 0]
    assert Play(oom=True).exit(0) == Play(evicted=True).exit(5) == 137
