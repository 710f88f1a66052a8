"""``kubectl wfe explain NAME``."""

from __future__ import annotations

import click

from wfe_controller.cli.kubectl.explain.decide import explain as decide
from wfe_controller.cli.kubectl.explain.gather import gather, gather_gone
from wfe_controller.cli.kubectl.explain.model import Explanation
from wfe_controller.cli.kubectl.explain.text import as_text
from wfe_controller.cli.kubectl.options import Places, cluster_options, execution_argument, output_option
from wfe_controller.cli.kubectl.output import machine
from wfe_controller.cli.kubectl.session import Elsewhere, Refusal, Session, run
from wfe_controller.cli.kubectl.style import Style


@click.command()
@execution_argument
@output_option()
@cluster_options
def explain(name: str, output: str | None, places: Places) -> None:
    """Say what it is doing, what it waits for, why it failed, and what to do now.

    The last line is the ONE command to run next; what stands in <angle brackets> only you can say. What could not be
    read is listed, nothing is guessed in its place.
    """
    told = run(places, lambda session: explained(session, name))
    click.echo(machine(told.to_json(), output) if output else as_text(told, Style.of_terminal()))


async def explained(session: Session, name: str) -> Explanation:
    """The explanation of that execution; of one that is gone, from what its target remembers."""
    try:
        wfe = await session.execution_named(name)
    except Elsewhere:
        raise  # a lock remembers names without their namespace: it is that one
    except Refusal:
        facts = await gather_gone(session, name)
        if facts is None:
            raise
        return decide(facts)
    return decide(await gather(session, wfe))
