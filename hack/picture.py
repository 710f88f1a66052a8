"""``python -m hack.picture``: play the sandbox on a terminal of our own and keep one of its screens as docs/demo.svg.

The picture is what was written to the terminal, not a drawing of it. Every run of characters has its place in the grid,
so that any monospaced font shows it; nothing is loaded from elsewhere.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from html import escape
from pathlib import Path

from wfe_controller.cli.stage import TITLE

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "demo.svg"
COMMAND = [sys.executable, "-m", "wfe_controller", "sandbox"]
ROWS, COLUMNS = 40, 80
MOMENT = "when cleared"
"""The last screen with these words is the one that shows most: one target held, one blocked, requests of every kind."""
WIDTH, HEIGHT, MARGIN, SIZE = 8.4, 18, 16, 14
BACKGROUND, FOREGROUND = "#161b22", "#d0d7de"
COLOURS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "36": "#79c0ff"}

_FRAME_ENDS, _CODE = "\x1b[J", re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


def play() -> str:
    """What the command writes to a terminal of ROWS x COLUMNS. Raises CalledProcessError when it fails."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    dropped = ("NO_COLOR", "COLUMNS", "LINES")
    environment = {**{k: v for k, v in os.environ.items() if k not in dropped}, "TERM": "xterm-256color"}
    process = subprocess.Popen(COMMAND, cwd=ROOT, env=environment, stdin=its, stdout=its, stderr=its)
    os.close(its)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how a terminal says that nobody has its other end any more
            break
        if not part:
            break
        written += part
    os.close(ours)
    if process.wait() != 0:
        raise subprocess.CalledProcessError(process.returncode, COMMAND, written)
    return written.decode()


def chosen(written: str) -> list[str]:
    """The lines of the last screen with MOMENT in it, colours included."""
    frames = [frame for frame in written.split(_FRAME_ENDS) if MOMENT in frame and "TARGETS" in frame]
    if not frames:
        raise ValueError(f"no screen has {MOMENT!r} in it")
    start = frames[-1].index(f"\x1b[1m{TITLE}")
    return frames[-1][start:].replace("\x1b[K", "").replace("\r", "").rstrip("\n").split("\n")


def runs(line: str) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(column, text, codes) of each run of one style."""
    column, at, codes = 0, 0, ()
    for match in [*_CODE.finditer(line), None]:
        text = line[at : match.start() if match else len(line)]
        if text.strip():
            yield column, text, codes
        column += len(text)
        if match is not None:
            at = match.end()
            codes = () if match[1] in ("", "0") else (*codes, *match[1].split(";"))


def svg(lines: list[str]) -> str:
    width, height = round(COLUMNS * WIDTH + 2 * MARGIN), len(lines) * HEIGHT + 2 * MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="{SIZE}">',
        "<title>wfe-controller sandbox</title>",
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
    ]
    for row, line in enumerate(lines):
        for column, text, codes in runs(line):
            lead = len(text) - len(text.lstrip())
            shown = text.strip()
            x, y = MARGIN + (column + lead) * WIDTH, MARGIN + row * HEIGHT + SIZE
            fill = next((COLOURS[code] for code in codes if code in COLOURS), FOREGROUND)
            bold = ' font-weight="bold"' if "1" in codes else ""
            out.append(
                f'<text x="{x:.1f}" y="{y}" textLength="{len(shown) * WIDTH:.1f}" lengthAdjust="spacingAndGlyphs"'
                f' xml:space="preserve" fill="{fill}"{bold}>{escape(shown)}</text>'
            )
    return "\n".join([*out, "</svg>", ""])


def main() -> int:
    PICTURE.write_text(svg(chosen(play())), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)} written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
