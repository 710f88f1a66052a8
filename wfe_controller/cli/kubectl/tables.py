"""Tables that fit: cells are shortened in the middle, those of the widest columns first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.kubectl.words import cells, head, plain

GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """``least``: how narrow it may get, 0 = it keeps its width. Of equally wide ones that of higher ``give`` gives.

    ``keep``: below this it gives only when no other can: what a person copies into the next command stays whole.
    """

    title: str
    least: int = 0
    give: int = 0
    keep: int = field(default=0, kw_only=True)
    colour: Callable[[Style, str, str], str] | None = None
    """(style, whole value, padded cell) -> cell with its colour."""


def elided(text: str, width: int, style: Style) -> str:
    """At most ``width`` columns of a terminal; what is cut out of the middle is shown as cut."""
    if cells(text) <= width:
        return text
    if width <= 1:
        return style.ellipsis[:width]
    behind = width // 2
    return f"{head(text, width - behind - 1)}{style.ellipsis}{head(text[::-1], behind)[::-1]}"


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], style: Style) -> str:
    """Title and rows, columns two blanks apart, nothing behind the last one. What others wrote is made harmless."""
    rows = [[plain(cell) for cell in row] for row in rows]
    widths = [max([len(c.title), *(cells(row[i]) for row in rows)]) for i, c in enumerate(columns)]
    if style.cut:
        widths = _fitted(columns, widths, style.width)
    lines = [_line([c.title for c in columns], [c.title for c in columns], widths, columns, style, title=True)]
    for row in rows:
        shown = [elided(cell, width, style) for cell, width in zip(row, widths, strict=True)]
        lines.append(_line(shown, row, widths, columns, style, title=False))
    return "\n".join(lines)


def _fitted(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    out = list(widths)
    over = sum(out) + GAP * (len(out) - 1) - width
    while over > 0:
        able = [i for i, c in enumerate(columns) if c.least and out[i] > max(c.least, 1)]
        able = [i for i in able if out[i] > columns[i].keep] or able
        if not able:
            break
        out[max(able, key=lambda i: (out[i], columns[i].give))] -= 1
        over -= 1
    return out


def _line(
    shown: Sequence[str],
    whole: Sequence[str],
    widths: Sequence[int],
    columns: Sequence[Column],
    style: Style,
    *,
    title: bool,
) -> str:
    out = []
    for index, (cell, value, width, column) in enumerate(zip(shown, whole, widths, columns, strict=True)):
        padded = cell if index == len(shown) - 1 else cell + " " * (width - cells(cell))
        out.append(padded if title or column.colour is None else column.colour(style, value, padded))
    return (" " * GAP).join(out).rstrip()
