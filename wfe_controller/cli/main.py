"""``wfe-controller``: the commands, and the one place that turns errors into exit codes and one line on stderr.

Exit codes: 0 done, 1 refused or failed by the environment, 2 what the operator typed or configured.
Shell completion: ``eval "$(_WFE_CONTROLLER_COMPLETE=bash_source wfe-controller)"`` (or zsh_source, fish_source).
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import click

from wfe_controller.app.exits import EXIT_ENVIRONMENT, EXIT_USAGE, ExitError
from wfe_controller.kube.errors import KubeConfigError, KubeError

# Imported when used: "version" and shell completion need not load the whole controller.
COMMANDS = {
    "run": "wfe_controller.cli.run:run",
    "sandbox": "wfe_controller.cli.sandbox:sandbox",
    "manifests": "wfe_controller.cli.manifests:manifests",
    "doctor": "wfe_controller.cli.doctor:doctor",
    "version": "wfe_controller.cli.version:version",
}


class Commands(click.Group):
    """A group of lazily imported commands. A command's return value, if it is an int, is the exit code."""

    program: ClassVar[str] = "wfe-controller"
    table: ClassVar[Mapping[str, str]] = COMMANDS

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        module, _, name = self.table[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        try:
            result = super().main(args, prog_name, complete_var, False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(EXIT_USAGE)
        except click.ClickException as error:
            self.fail(_with_help(error), error.exit_code)
        except click.Abort:
            self.interrupted()
        except ExitError as error:
            self.fail(str(error), error.code)
        except KubeConfigError as error:
            self.fail(f"{error}; correct it, or name another with --kubeconfig or --context", EXIT_USAGE)
        except KubeError as error:
            self.fail(f"the API server refused or did not answer: {error}", EXIT_ENVIRONMENT)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EIO):
                self.fail(f"what was to be said could not be written: {error.strerror}", EXIT_ENVIRONMENT)
            if error.errno != errno.EPIPE:
                raise
            # The reader of our output has left ("... | head"): not an error, but nothing more can be written.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(EXIT_ENVIRONMENT)
        sys.exit(result if isinstance(result, int) else 0)

    def interrupted(self) -> NoReturn:
        """Ctrl-C."""
        self.fail("interrupted", EXIT_ENVIRONMENT)

    def fail(self, message: str, code: int) -> NoReturn:
        """End the process with one line on stderr."""
        click.echo(f"{self.program}: error: {' '.join(message.split())}", err=True)
        sys.exit(code)


def _with_help(error: click.ClickException) -> str:
    message = error.format_message()
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{message.rstrip('.')}; see '{error.ctx.command_path} --help'"
    return message


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Runs one remediation of one target resource at a time, safely."""


if __name__ == "__main__":
    main(prog_name="wfe-controller")
