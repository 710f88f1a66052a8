"""``kubectl-wfe``, also ``kubectl wfe``. Exit codes: 0 done, 1 refused or failed, 2 wrong usage or configuration."""

from __future__ import annotations

import difflib
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import click

from wfe_controller.cli.kubectl.options import DRY_RUN
from wfe_controller.cli.kubectl.words import folded, one_line, plain, wrapped
from wfe_controller.cli.main import Commands

COMMANDS = {
    "get": "wfe_controller.cli.kubectl.reading:get",
    "tree": "wfe_controller.cli.kubectl.tree:tree",
    "watch": "wfe_controller.cli.kubectl.watching:watch",
    "explain": "wfe_controller.cli.kubectl.explain.command:explain",
    "cancel": "wfe_controller.cli.kubectl.decisions:cancel",
    "pause": "wfe_controller.cli.kubectl.decisions:pause",
    "resume": "wfe_controller.cli.kubectl.decisions:resume",
    "clear-block": "wfe_controller.cli.kubectl.clearing:clear_block",
    "locks": "wfe_controller.cli.kubectl.reading:locks",
    "retry": "wfe_controller.cli.kubectl.retrying:retry",
    "graph": "wfe_controller.cli.kubectl.graph:graph",
    "doctor": "wfe_controller.cli.kubectl.doctor:doctor",
    "completion": "wfe_controller.cli.kubectl.completion:completion",
}


class Plugin(Commands):
    program: ClassVar[str] = "kubectl-wfe"
    table: ClassVar[Mapping[str, str]] = COMMANDS

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        return super().main(behind_the_command(given), *rest, **extra)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            meant = [MEANT[args[0]]] if args[0] in MEANT else difflib.get_close_matches(args[0], self.table, 1)
            if not meant or ctx.resilient_parsing:
                raise
            ctx.fail(f"No such command {args[0]!r} (did you mean {meant[0]!r}?)")

    def interrupted(self) -> NoReturn:
        """Ctrl-C is how a watch ends: nothing to complain of, and a shell knows 130."""
        sys.exit(EXIT_INTERRUPTED)

    def fail(self, message: str, code: int) -> NoReturn:
        """The reason on one line, the next step, if there is one, on a line of its own (see session.Refusal).

        On a terminal both are folded to its width; a program that reads stderr gets one line each.
        """
        reason, _, step = message.partition("\n")
        lines = [f"{self.program}: error: {one_line(reason)}"]
        if step:
            lines.append(plain(step))
        if sys.stderr.isatty():
            width = max(40, shutil.get_terminal_size().columns)
            lines = wrapped(lines[0], width, cut_words=False)
            if step:
                lines += [f"  {part}" for part in folded(plain(step), width - 2)]
        for line in lines:
            click.echo(line, err=True)
        sys.exit(code)


MEANT = {"list": "get", "ls": "get", "describe": "explain", "why": "explain", "status": "explain", "logs": "explain"}
MEANT |= {"unblock": "clear-block", "clear": "clear-block", "lock": "locks", "delete": "cancel", "stop": "cancel"}
"""What people type first."""

EXIT_INTERRUPTED = 130

LEADING = frozenset(
    {"-n", "--namespace", "--kubeconfig", "--context", "--controller-namespace", "--execution-namespace"}
)


def behind_the_command(words: list[str]) -> list[str]:
    """The words with connection flags before the command moved behind it: ``-n shop get`` is ``get -n shop``.

    kubectl takes them there too; what is none of them is left for click to complain of. ``--dry-run`` alone is a
    dry run by the server.
    """
    words = [f"{DRY_RUN}=server" if word == DRY_RUN else word for word in words]
    index = 0
    while index < len(words):
        flag, equals, _ = words[index].partition("=")
        if flag in LEADING:
            index += 1 if equals else 2
        elif len(words[index]) > 2 and words[index].startswith("-n"):
            index += 1
        else:
            break
    if index == 0 or index >= len(words) or words[index].startswith("-"):
        return words
    return [words[index], *words[:index], *words[index + 1 :]]


@click.group(cls=Plugin, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
def main() -> None:
    """See and steer WorkflowExecutions. Start with 'kubectl wfe explain NAME'."""


if __name__ == "__main__":
    main(prog_name="kubectl-wfe")
