"""What the shell and the engines may be told, as one frozen value. app/config builds it; durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from wfe_controller.locking.limits import Limits


@dataclass(frozen=True, slots=True)
class ShellSettings:
    """SPEC 2.2, 2.5, 2.6 and 3. Defaults are those of the specification."""

    controller_namespace: str = "kubernaut-system"
    execution_namespace: str = "kubernaut-workflows"
    service_account: str = "kubernaut-workflow-runner"
    allowed_service_accounts: tuple[str, ...] = ()
    allowed_registries: tuple[str, ...] = ()
    engines: tuple[str, ...] = ("tekton", "steps")
    limits: Limits = field(default_factory=Limits)
    start_deadline: float = 1800.0
    start_timeout: float = 600.0
    resolution_timeout: float = 60.0
    default_timeout: float = 1800.0
    finally_timeout: float = 300.0
    watchdog_grace: float = 60.0
    create_retry_timeout: float = 300.0
    run_retention: float = 300.0
    cancel_timeout: float = 60.0
    delete_timeout: float = 120.0
    cancel_deadline: float = 180.0
    poll_interval: float = 10.0
    unknown_phase_interval: float = 30.0
    sweep_interval: float = 60.0
    orphan_grace: float = 60.0
    evidence_timeout: float = 5.0
    status_budget: int = 256 * 1024
    watch_namespaces: tuple[str, ...] = ()
