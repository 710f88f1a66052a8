"""Everything that is simulated, on one simulation: what the sandbox starts beside the API server."""

from __future__ import annotations

from wfe_controller.sandbox.simulators.deployments import DeploymentSimulator
from wfe_controller.sandbox.simulators.jobs import JobSimulator
from wfe_controller.sandbox.simulators.pods import PodSimulator
from wfe_controller.sandbox.simulators.scenario import Scenario
from wfe_controller.sandbox.simulators.simulation import Simulation
from wfe_controller.sandbox.simulators.tekton.resolver import Bundles
from wfe_controller.sandbox.simulators.tekton.simulator import TektonSimulator


class Cast:
    """``workloads`` False: Deployments and Jobs are somebody else's (a kube-controller-manager)."""

    def __init__(self, simulation: Simulation, scenario: Scenario, *, workloads: bool = True) -> None:
        self.simulation = simulation
        self.pods = PodSimulator(simulation)
        self.tekton = TektonSimulator(simulation, Bundles(scenario.references(), scenario.refusals()))
        if workloads:
            self.deployments = DeploymentSimulator(simulation)
            self.jobs = JobSimulator(simulation)
