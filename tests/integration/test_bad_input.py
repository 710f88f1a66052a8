"""What the API server says to a bad spec, by kubectl with its defaults (strict field validation)."""

from __future__ import annotations

import json

import pytest

from hack.controlplane import Plane
from tests.support.badinput import ACCEPTED, CASES, NOT_CHECKED, Case

INVALID = 'The WorkflowExecution "bad" is invalid: '


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_server_says(plane: Plane, case: Case) -> None:
    """Point 8: refused by the API server where the schema can, with field, value, rule and remedy."""
    done = plane.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(case.build()))
    if case.server == ACCEPTED:
        assert done.stdout == "workflowexecution.kubernaut.ai/bad created (server dry run)\n", done.stderr
        return
    assert done.returncode == 1
    message = done.stderr.strip().removeprefix(INVALID).strip()
    assert tuple(line.removeprefix("* ") for line in message.split("\n")) == case.server
    assert all(line == NOT_CHECKED or "spec" in line for line in case.server)


def test_most_of_it_never_reaches_the_controller() -> None:
    """At least 60 cases, and only what a schema cannot say is left to the controller."""
    assert len(CASES) >= 60
    assert {case.id for case in CASES if case.server == ACCEPTED} == {
        "parameter-value-too-many-bytes",
        "parameters-sum-in-bytes",
        "spec-too-many-bytes",
        "target-pod-name-upper-case",
    }
