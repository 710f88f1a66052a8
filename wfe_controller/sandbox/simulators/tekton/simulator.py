"""Tekton as one thing: both controllers on one simulation."""

from __future__ import annotations

from wfe_controller.sandbox.simulators.simulation import Simulation
from wfe_controller.sandbox.simulators.tekton.pipelineruns import PipelineRuns
from wfe_controller.sandbox.simulators.tekton.resolver import Resolver
from wfe_controller.sandbox.simulators.tekton.taskruns import TaskRuns

RELEASE = "v1.12.0"


class TektonSimulator:
    """Plays Tekton on ``simulation``. The pods it creates need somebody who plays them (``pods``, or a kubelet)."""

    def __init__(self, simulation: Simulation, resolver: Resolver, *, release: str = RELEASE) -> None:
        self.pipeline_runs = PipelineRuns(simulation, resolver)
        self.task_runs = TaskRuns(simulation, release=release)
