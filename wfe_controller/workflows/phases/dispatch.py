"""Which handler decides: terminal first, then deletion, then the phase (S-13.3, T-3.1)."""

from __future__ import annotations

from wfe_controller.api.phases import Phase
from wfe_controller.kube.control.outcomes import RequeueAfter
from wfe_controller.workflows.engines.tekton import follow
from wfe_controller.workflows.phases.deleting import deleting
from wfe_controller.workflows.phases.pending import pending
from wfe_controller.workflows.phases.terminal import terminal
from wfe_controller.workflows.plan import Step, Stop
from wfe_controller.workflows.snapshot import Snapshot


def decide_step(snapshot: Snapshot) -> Step:
    """The next step for this snapshot. Pure: the same snapshot gives the same step, on every replica."""
    if snapshot.terminal:
        return terminal(snapshot)
    if snapshot.deleting:
        return deleting(snapshot)
    match snapshot.phase:
        case "" | Phase.PENDING:
            return pending(snapshot)
        case Phase.RUNNING:
            return follow.follow(snapshot)
        case _:
            # A word of a later version, or a phase of the steps engine that this build does not have: hands off (T26).
            return Stop(RequeueAfter(snapshot.settings.unknown_phase_interval))
