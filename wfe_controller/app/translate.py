"""Settings of the process -> settings of the shell."""

from __future__ import annotations

from wfe_controller.app.config import Settings
from wfe_controller.locking.limits import Limits
from wfe_controller.workflows.settings import ShellSettings


def shell_settings(settings: Settings, home: str) -> ShellSettings:
    """``home``: the controller's own namespace, which in a cluster is the pod's."""
    execution = settings.execution
    return ShellSettings(
        controller_namespace=home,
        execution_namespace=execution.namespace,
        service_account=execution.service_account,
        allowed_service_accounts=execution.allowed_service_accounts,
        allowed_registries=execution.allowed_registries,
        engines=settings.engines,
        limits=Limits(
            success_cooldown=execution.cooldown_period,
            backoff_base=execution.base_cooldown_period,
            backoff_max=execution.max_cooldown_period,
            backoff_exponent=execution.max_backoff_exponent,
            max_failures=execution.max_consecutive_failures,
            streak_retention=execution.streak_retention,
        ),
        start_deadline=execution.start_deadline,
        start_timeout=execution.start_timeout,
        resolution_timeout=execution.resolution_timeout,
        default_timeout=execution.default_timeout,
        create_retry_timeout=execution.create_retry_timeout,
        run_retention=execution.kept_for,
        cancel_timeout=execution.cancel_finally_timeout,
        delete_timeout=execution.cancel_timeout,
        cancel_deadline=execution.cancel_deadline,
        poll_interval=execution.poll_interval,
        sweep_interval=execution.sweep_interval,
        watch_namespaces=settings.controller.watch_namespaces,
    )
