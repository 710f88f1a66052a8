"""``wfe-controller doctor``: the preflight report as a table or as JSON; exit 1 when something fails."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from wfe_controller.app.config import Settings
from wfe_controller.app.doctor import Doctor, Row, Verdict
from wfe_controller.app.exits import EXIT_ENVIRONMENT, EXIT_OK
from wfe_controller.app.home import home_namespace
from wfe_controller.app.logs import configure_logging
from wfe_controller.cli.options import connection, connection_options, output_option, settings, settings_options
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import RealClock


@click.command()
@connection_options
@settings_options
@output_option
def doctor(
    kubeconfig: str | None, context: str | None, config: Path | None, assignments: tuple[str, ...], output: str
) -> int:
    """Check that the cluster has everything the controller needs.

    Looks with the rights of the account it connects as: run it in the controller's pod, or with --kubeconfig of the
    controller's account. It writes nothing.
    """
    loaded = settings(config, assignments)
    control = configure_logging("error", "console")
    try:
        rows = asyncio.run(_examine(loaded, connection(kubeconfig, context)))
    finally:
        control.close()
    click.echo(as_json(rows) if output == "json" else as_text(rows))
    return EXIT_ENVIRONMENT if any(row.verdict is Verdict.FAIL for row in rows) else EXIT_OK


async def _examine(loaded: Settings, connect_to: ConnectionSettings) -> list[Row]:
    clock = RealClock()
    transport = await Transport.connect(connect_to, clock=clock)
    try:
        api = Api(transport, throttle=None, clock=clock, request_timeout=loaded.client.request_timeout)
        home = home_namespace(loaded, connect_to, os.environ)
        return await Doctor(api, loaded, home, clock).examine()
    finally:
        await transport.close()


def as_json(rows: Sequence[Row]) -> str:
    """``{"ok": bool, "checks": [{"name", "verdict", "seen", "remedy"}]}``."""
    good = all(row.verdict is not Verdict.FAIL for row in rows)
    return json.dumps({"ok": good, "checks": [asdict(row) for row in rows]}, indent=2)


def as_text(rows: Sequence[Row]) -> str:
    """A line a check, the remedy below it, and a sum."""
    width = max((len(row.name) for row in rows), default=0)
    lines = []
    for row in rows:
        mark = row.verdict.upper() if row.verdict is Verdict.FAIL else row.verdict
        lines.append(f"{mark:<4}  {row.name:<{width}}  {' '.join(row.seen.split())}")
        if row.remedy:
            lines.append(f"{'':<4}  {'':<{width}}  -> {row.remedy}")
    counts = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    lines.append(f"{counts[Verdict.OK]} ok, {counts[Verdict.WARN]} warnings, {counts[Verdict.FAIL]} failures")
    return "\n".join(lines)
