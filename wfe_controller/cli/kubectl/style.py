"""How output is drawn here: width, colours, line characters. Decided once, at the edge; views only ask. Pure but for
``Style.of_terminal``, which looks at the terminal and the environment.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from wfe_controller.api.phases import Phase

WIDTH = 80
"""When there is no terminal to ask, and the least that tables are laid out for."""
NARROWEST = 40

_COLOURS = {
    Phase.COMPLETED: "32",
    Phase.FAILED: "31",
    Phase.ROLLBACK_FAILED: "31",
    Phase.DEGRADED: "31",
    Phase.SKIPPED: "33",
    Phase.ROLLED_BACK: "33",
    Phase.RUNNING: "36",
    Phase.ROLLING_BACK: "36",
}


@dataclass(frozen=True, slots=True)
class Style:
    """``cut``: whether tables shorten cells to ``width``; off in a pipe, where a reader needs whole names."""

    width: int = WIDTH
    colour: bool = False
    unicode: bool = True
    cut: bool = True
    prose: int = WIDTH
    """Columns for sentences: a narrow terminal gets narrow ones."""

    @classmethod
    def of_terminal(cls, env: Mapping[str, str] | None = None) -> Style:
        """The style of standard output: colours only on a terminal, and never with NO_COLOR set."""
        env = os.environ if env is None else env
        terminal = sys.stdout.isatty()
        colour = terminal and not env.get("NO_COLOR") and env.get("TERM") != "dumb"
        encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
        columns = env.get("COLUMNS", "")
        if columns.isdecimal() and int(columns) > 0:
            width = int(columns)
        else:
            width = shutil.get_terminal_size((WIDTH, 24)).columns if terminal else WIDTH
        prose = max(NARROWEST, width)
        return cls(max(WIDTH, width), colour, "utf" in encoding, terminal or columns.isdecimal(), prose)

    def bold(self, text: str) -> str:
        return self._code("1", text)

    def dim(self, text: str) -> str:
        return self._code("2", text)

    def command(self, text: str) -> str:
        return self._code("36", text)

    def phase(self, phase: str, text: str) -> str:
        """``text`` in the colour of that phase, if it has one."""
        known = {str(p): code for p, code in _COLOURS.items()}
        return self._code(known[phase], text) if phase in known else text

    def alarm(self, text: str) -> str:
        return self._code("31", text)

    @property
    def ellipsis(self) -> str:
        return "…" if self.unicode else "~"

    def _code(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text
