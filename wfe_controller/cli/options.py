"""Options that several commands share, and how flags become settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wfe_controller.app.exits import ConfigError

if TYPE_CHECKING:
    from wfe_controller.app.config import Settings
    from wfe_controller.kube.client.transport import ConnectionSettings

F = TypeVar("F", bound=Callable[..., Any])


def connection_options(command: F) -> F:
    """``--kubeconfig``, ``--context``."""
    command = click.option("--context", metavar="NAME", help="Context of the kubeconfig.")(command)
    return click.option(
        "--kubeconfig", metavar="FILE", help="Kubeconfig file; else KUBECONFIG, the pod's account, ~/.kube/config."
    )(command)


def settings_options(command: F) -> F:
    """``--config``, ``--set``."""
    command = click.option(
        "--set", "assignments", metavar="SECTION.KEY=VALUE", multiple=True, help="Set one setting; repeatable."
    )(command)
    return click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="YAML settings file.")(
        command
    )


def output_option(command: F) -> F:
    """``-o json``."""
    return click.option(
        "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
    )(command)


def connection(kubeconfig: str | None, context: str | None) -> ConnectionSettings:
    from wfe_controller.kube.client.transport import ConnectionSettings  # loads the Kubernetes library

    return ConnectionSettings(kubeconfig=os.path.expanduser(kubeconfig) if kubeconfig else None, context=context)


def settings(
    config: Path | None, assignments: tuple[str, ...], flags: Mapping[str, tuple[str, str | None]] | None = None
) -> Settings:
    """Settings from all sources. ``flags``: dotted key -> (flag, value or None when not given); they beat ``--set``."""
    from wfe_controller.app.config import load_settings  # loads pydantic

    overrides: dict[str, str] = {}
    origins: dict[str, str] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment}: no value; write it like --set execution.cooldownPeriod=5m")
        overrides[key.strip()] = value
    for key, (flag, given) in (flags or {}).items():
        if given is not None:
            overrides[key] = given
            origins[key] = f"flag {flag}"
    return load_settings(config.expanduser() if config else None, os.environ, overrides, origins=origins)
