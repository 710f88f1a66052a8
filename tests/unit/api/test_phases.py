from __future__ import annotations

import pytest

from wfe_controller.api.phases import EDGES, TERMINAL, Engine, IllegalTransition, Phase, is_terminal, transition

P = Phase


def legal(engine: Engine | None) -> set[tuple[str, Phase]]:
    out = set()
    for before in ("", *Phase):
        for after in Phase:
            try:
                transition(before, after, engine)
            except IllegalTransition:
                continue
            if before != after:
                out.add((str(before), after))
    return out


def test_the_edges_of_the_tekton_engine() -> None:
    """SPEC 1.1: Pending -> Running -> Completed|Failed, or -> Skipped|Failed; Pending is written only to wait."""
    assert legal(Engine.TEKTON) == {
        *(("", after) for after in (P.PENDING, P.RUNNING, P.FAILED, P.SKIPPED)),
        *((P.PENDING, after) for after in (P.RUNNING, P.FAILED, P.SKIPPED)),
        *((P.RUNNING, after) for after in (P.COMPLETED, P.FAILED)),
    }


def test_the_edges_of_the_steps_engine() -> None:
    """S-13.3, as a second copy of the table."""
    assert legal(Engine.STEPS) == {
        *(("", after) for after in (P.PENDING, P.PLANNING, P.FAILED, P.SKIPPED)),
        *((P.PENDING, after) for after in (P.PLANNING, P.FAILED, P.SKIPPED)),
        *((P.PLANNING, after) for after in (P.FAILED, P.AWAITING_APPROVAL, P.VALIDATING)),
        *((P.AWAITING_APPROVAL, after) for after in (P.FAILED, P.VALIDATING)),
        *((P.VALIDATING, after) for after in (P.RUNNING, P.FAILED, P.SKIPPED)),
        *((P.RUNNING, after) for after in (P.COMPLETED, P.FAILED, P.ROLLING_BACK, P.DEGRADED)),
        *((P.DEGRADED, after) for after in (P.ROLLING_BACK, P.FAILED)),
        *((P.ROLLING_BACK, after) for after in (P.ROLLED_BACK, P.ROLLBACK_FAILED)),
    }


def test_a_spec_without_an_engine_only_waits_or_fails() -> None:
    assert legal(None) == {("", P.PENDING), ("", P.FAILED), (P.PENDING, P.FAILED)}


@pytest.mark.parametrize("engine", [*Engine, None])
@pytest.mark.parametrize("phase", sorted(TERMINAL))
def test_terminal_is_final(engine: Engine | None, phase: Phase) -> None:
    """SPEC 13: no phase changes after terminal, and every non-terminal phase has a way out."""
    assert is_terminal(phase)
    assert not [edge for edge in legal(engine) if edge[0] == phase]


def test_every_phase_is_reached_and_every_waiting_phase_is_left() -> None:
    reached = {after for engine in Engine for _, after in legal(engine)}
    assert reached == set(Phase)
    left = {before for engine in Engine for before in EDGES[engine]}
    assert left == {"", *(phase for phase in Phase if phase not in TERMINAL)}


def test_an_unknown_phase_has_no_edges_and_the_error_says_so() -> None:
    """T-3.1: never crash, never change."""
    with pytest.raises(IllegalTransition, match="phase Weird -> Failed is no edge of the tekton engine"):
        transition("Weird", P.FAILED, Engine.TEKTON)
    assert not is_terminal("Weird")
