"""What the test kubelet makes of a pod."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hack.controlplane.behaviours import ANNOTATION, ENVIRONMENT, Behaviour, finished, of_pod, parse, running, stuck

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"


def pod(*images: str, annotations: dict[str, str] | None = None, **container: Any) -> dict[str, Any]:
    containers = [{"name": f"step-{n}", "image": image, **container} for n, image in enumerate(images)]
    return {"metadata": {"name": "p", "annotations": annotations or {}}, "spec": {"containers": containers}}


@pytest.mark.parametrize(
    ("given", "word", "argument"),
    [
        (pod("busybox:1"), "success", ""),
        (pod("registry:5000/busybox:fail-3@sha256:ab"), "fail", "3"),
        (pod("busybox:1", "busybox:oom"), "oom", ""),
        (pod("busybox:hang", annotations={ANNOTATION: "fail:4"}), "fail", "4"),
        (pod("busybox:1", args=["-c", "behaviour=slow:2.5"]), "slow", "2.5"),
        (pod("busybox:hang", env=[{"name": ENVIRONMENT, "value": "imagepull"}]), "imagepull", ""),
        (pod("busybox:failing-3"), "success", ""),
    ],
    ids=["default", "image-tag", "second-step", "annotation-first", "argument", "environment", "only-whole-words"],
)
def test_where_a_behaviour_is_found(given: dict[str, Any], word: str, argument: str) -> None:
    found = of_pod(given)
    assert (found.word, found.argument) == (word, argument)


def test_the_step_that_asked_fails_and_the_later_ones_are_skipped() -> None:
    """Tekton reads the first step that ended badly, and "Skipped" in the messages of those after it."""
    given = pod("busybox:1", "busybox:fail-3", "busybox:1")
    status = finished(given, of_pod(given), NOW, LATER)
    ends = [item["state"]["terminated"] for item in status["containerStatuses"]]
    assert [end["exitCode"] for end in ends] == [0, 3, 1]
    messages = [{item["key"]: item["value"] for item in json.loads(end["message"])} for end in ends]
    assert [message.get("Reason") for message in messages] == [None, None, "Skipped"]
    assert messages[0]["StartedAt"] == "2026-01-01T00:00:00.000Z"
    assert status["phase"] == "Failed"


def test_a_killed_step_leaves_no_message() -> None:
    """The kernel does not ask the entrypoint for its last words."""
    given = pod("busybox:oom")
    (container,) = finished(given, of_pod(given), NOW, LATER)["containerStatuses"]
    terminated = container["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (137, "OOMKilled")
    assert "message" not in terminated


def test_a_pod_that_never_starts_says_why() -> None:
    given = pod("busybox:1")
    (condition,) = stuck(given, Behaviour("unschedulable"), NOW)["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "Unschedulable")
    (container,) = stuck(given, Behaviour("imagepull"), NOW)["containerStatuses"]
    assert container["state"]["waiting"]["reason"] == "ImagePullBackOff"


def test_a_running_pod_is_ready_and_has_finished_its_init_containers() -> None:
    given = pod("busybox:1")
    given["spec"]["initContainers"] = [{"name": "prepare", "image": "entrypoint:1"}]
    status = running(given, NOW)
    assert status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    assert status["containerStatuses"][0]["ready"] is True
    assert {item["type"] for item in status["conditions"] if item["status"] == "True"} >= {"Ready", "PodScheduled"}


@pytest.mark.parametrize("text", ["", "fail:x", "explode", "success now"])
def test_no_word_no_behaviour(text: str) -> None:
    assert parse(text) is None
