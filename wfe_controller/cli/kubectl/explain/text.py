"""An explanation as a person reads it: one sentence, then a line per answer, then the one command. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from wfe_controller.cli.kubectl.explain.model import Explanation
from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.kubectl.words import age, folded, plain, since, until, wrapped

LABEL = 12
"""Columns for the question."""
LOOK = "look first"
LATER = 60.0


def as_text(told: Explanation, style: Style) -> str:
    """Lines of at most ``style.prose`` columns, but for words that are longer."""
    lines = [style.bold(line) for line in wrapped(f"{told.name}: {told.headline}", style.prose, cut_words=style.cut)]
    for label, text in _answers(told):
        lines += _answer(label, text, style)
    if told.next.look:
        first, *more = folded(plain(told.next.look), style.prose - LABEL - 2)
        lines.append(f"  {style.dim(f'{LOOK:<{LABEL}}')}{style.command(first)}")
        lines += [f"  {'':<{LABEL}}{style.command(line.strip())}" for line in more]
    lines += _answer("next", told.next.why, style)
    command = folded(plain(told.next.command), style.prose - 4)
    lines += [f"  $ {style.command(command[0])}", *(f"    {style.command(more)}" for more in command[1:])]
    return "\n".join(lines)


def _answers(told: Explanation) -> Iterator[tuple[str, str]]:
    now = told.now
    if told.target:
        yield "target", told.target
    if told.since is not None and now is not None:
        yield "since", since(told.since, now) + _ended_later(told, now)
    if told.waiting_for:
        yield "waits for", told.waiting_for
    if told.ends_at is not None and now is not None:
        yield "ends by", f"{until(told.ends_at, now)}, at the latest"
    if told.holder is not None:
        at = f", since {since(told.holder.since, now)}" if told.holder.since is not None and now is not None else ""
        mine = " (this one)" if str(told.holder) == told.name else ""
        yield "held by", f"{told.holder}{mine}{at}"
    elif told.holder_known:
        yield "held by", "nobody"
    if told.allowed_at is not None and now is not None:
        yield "may run", until(told.allowed_at, now)
    for index, line in enumerate(told.evidence):
        yield "evidence" if index == 0 else "", line
    if told.changed:
        yield "changed", told.changed
    for index, line in enumerate(told.unread):
        yield "not read" if index == 0 else "", line


def _ended_later(told: Explanation, now: datetime) -> str:
    """What keeps others off the target may be much older than the execution that was refused because of it."""
    if told.ended_at is None or told.since is None or (told.ended_at - told.since).total_seconds() < LATER:
        return ""
    return f"; this one ended {age((now - told.ended_at).total_seconds())} ago"


def _answer(label: str, text: str, style: Style) -> list[str]:
    width = max(20, style.prose - LABEL - 2)
    first, *more = wrapped(text, width, cut_words=True)
    head = f"  {style.dim(f'{label:<{LABEL}}')}{first}".rstrip()
    return [head, *(f"  {'':<{LABEL}}{line}" for line in more)]
