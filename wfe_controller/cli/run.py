"""``wfe-controller run``: flags to settings, logging, then the controller until SIGTERM."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import structlog

from wfe_controller import __version__
from wfe_controller.app.exits import EXIT_ENVIRONMENT, ExitError
from wfe_controller.app.logs import configure_logging
from wfe_controller.cli.options import connection, connection_options, settings, settings_options
from wfe_controller.kube.errors import KubeError

_log = structlog.get_logger("wfe.cli")


def _switch(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


@click.command()
@connection_options
@settings_options
@click.option("--controllers", metavar="LIST", help="Controllers to run, separated by commas.")
@click.option("--leader-elect/--no-leader-elect", default=None, help="Work only while holding the Lease.")
@click.option("--metrics-address", metavar="HOST:PORT", help="Address of /metrics.")
@click.option("--health-address", metavar="HOST:PORT", help="Address of /healthz and /readyz.")
@click.option("--log-format", type=click.Choice(["json", "console"]), help="Format of the log on stderr.")
@click.option("--require-tekton/--no-require-tekton", default=None, help="Exit 1 at start when Tekton is missing.")
@click.option("-v", "--verbose", is_flag=True, help="Log at level debug.")
def run(
    kubeconfig: str | None,
    context: str | None,
    config: Path | None,
    assignments: tuple[str, ...],
    controllers: str | None,
    leader_elect: bool | None,
    metrics_address: str | None,
    health_address: str | None,
    log_format: str | None,
    require_tekton: bool | None,
    verbose: bool,
) -> int:
    """Run the controller until SIGTERM.

    With no option at all it uses the pod's service account, or your kubeconfig outside a cluster. Every setting can
    also stand in the file (--config), in a variable WFE_<SECTION>__<KEY>, or in --set; flags win.
    """
    loaded = settings(
        config,
        assignments,
        {
            "controller.controllers": ("--controllers", controllers),
            "controller.leaderElection": ("--leader-elect", _switch(leader_elect)),
            "controller.metricsAddress": ("--metrics-address", metrics_address),
            "controller.healthAddress": ("--health-address", health_address),
            "logging.format": ("--log-format", log_format),
            "controller.requireTekton": ("--require-tekton", _switch(require_tekton)),
            "logging.level": ("--verbose", "debug" if verbose else None),
        },
    )
    logs = configure_logging(loaded.logging.level, loaded.logging.format)
    from wfe_controller.app.main import run_controller  # last: nothing heavy is loaded to refuse a wrong flag

    for warning in loaded.warnings:
        _log.warning(warning)
    _log.info("starting", version=__version__, config_hash=loaded.hash, config=loaded.describe())
    try:
        return asyncio.run(run_controller(loaded, connection(kubeconfig, context), logs))
    except (ExitError, KubeError):
        raise  # expected: one line and the exit code, from cli/main
    except Exception:  # noqa: BLE001 - the end of the process: whatever it is, it leaves as one log line
        _log.critical("ended by a defect of the controller", exc_info=True)
        return EXIT_ENVIRONMENT
