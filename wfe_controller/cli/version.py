"""``wfe-controller version``."""

from __future__ import annotations

import json
import platform

import click

from wfe_controller import __version__
from wfe_controller.cli.options import output_option


@click.command()
@output_option
def version(output: str) -> None:
    """Print the version."""
    facts = {"version": __version__, "python": platform.python_version(), "platform": platform.platform()}
    if output == "json":
        click.echo(json.dumps(facts))
    else:
        click.echo(f"wfe-controller {__version__} (Python {facts['python']}, {facts['platform']})")
