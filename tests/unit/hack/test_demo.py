"""The demo's story is told by what the API server says, and by nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from hack.demo.samples import BUNDLES, CHECKOUT, FRONTEND, STEPS, Seen, as_expected, clearance, execution
from hack.demo.view import View


def ended(name: str, phase: str, reason: str = "") -> dict[str, Any]:
    (step,) = (step for step in STEPS if step.name == name)
    return execution(step, f"r/{step.bundle}@sha256:{'0' * 64}") | {"status": {"phase": phase, "reason": reason}}


def lock(target: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "wfe-1"}, "spec": {"target": target}, "status": status}


def due(executions: list[dict[str, Any]], locks: list[dict[str, Any]]) -> set[str]:
    seen = Seen(
        {item["metadata"]["name"]: item for item in executions}, {item["spec"]["target"]: item for item in locks}
    )
    return {step.name for step in STEPS if step.when(seen)}


@pytest.mark.parametrize(
    ("executions", "locks", "name"),
    [
        ([ended("restart-frontend", "Running")], [], "restart-frontend-twice"),
        ([ended("restart-frontend", "Completed")], [lock(FRONTEND)], "restart-frontend-soon"),
        (
            [ended("resize-checkout", "Failed")],
            [lock(CHECKOUT, block={"reason": "ExecutionFailed", "by": {"uid": "u"}})],
            "resize-checkout-again",
        ),
        ([ended("resize-checkout-again", "Skipped")], [lock(CHECKOUT)], "resize-checkout-fixed"),
        ([ended("resize-checkout-again", "Skipped")], [], "resize-checkout-fixed"),
    ],
    ids=["while-it-runs", "after-the-release", "after-the-block", "after-the-clearance", "after-the-sweep"],
)
def test_each_request_waits_for_its_moment(
    executions: list[dict[str, Any]], locks: list[dict[str, Any]], name: str
) -> None:
    """Too early, and another reason than the one the story is about would decide."""
    first = {"restart-frontend", "resize-checkout"}
    assert due([], []) == first
    assert due(executions, locks) == first | {name}


def test_a_held_lock_is_not_yet_released() -> None:
    held = lock(FRONTEND, holder={"name": "restart-frontend", "uid": "u"})
    assert "restart-frontend-soon" not in due([ended("restart-frontend", "Completed")], [held])


def test_the_end_needs_phase_and_reason() -> None:
    step = next(step for step in STEPS if step.name == "resize-checkout-again")
    right = ended(step.name, "Skipped", "PreviousExecutionFailed")
    wrong = ended(step.name, "Skipped", "ResourceBusy")
    assert as_expected(step, Seen({step.name: right}, {}))
    assert not as_expected(step, Seen({step.name: wrong}, {}))


def test_a_clearance_names_the_execution_that_blocked() -> None:
    annotations = clearance({"by": {"uid": "u-1"}})["metadata"]["annotations"]
    assert annotations["kubernaut.ai/clear-block"] == "u-1"
    assert annotations["kubernaut.ai/clear-block-by"]


def test_every_step_has_its_bundle_and_its_digest() -> None:
    for step in STEPS:
        assert step.bundle in BUNDLES
        spec = execution(step, f"host:1/x@sha256:{'a' * 64}")["spec"]
        assert spec["workflowRef"]["containerDigest"] == f"sha256:{'a' * 64}"


def test_without_a_terminal_each_change_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    view = View()
    running = ended("restart-frontend", "Running")
    for _ in range(3):
        view.show(Seen({"restart-frontend": running}, {FRONTEND: lock(FRONTEND, holder={"name": "restart-frontend"})}))
    view.show(Seen({"restart-frontend": ended("restart-frontend", "Completed")}, {FRONTEND: lock(FRONTEND)}))
    assert capsys.readouterr().out.splitlines() == [
        "wfe    restart-frontend  Running  shop/deployment/frontend",
        "tlock  shop/deployment/frontend  restart-frontend",
        "wfe    restart-frontend  Completed  shop/deployment/frontend",
        "tlock  shop/deployment/frontend  (free)",
    ]
