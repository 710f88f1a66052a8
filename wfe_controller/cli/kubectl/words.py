"""Words for people: instants, ages, names, and command lines that can be copied. Pure.

Neighbours: the views and explain. Invariant: a command that is printed can be run as it stands, but for what only a
person knows, which stands in angle brackets and is refused when it comes back (``is_placeholder``).
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.objects import ObjectKey

WHAT_YOU_FOUND = "<what you found on the target>"
WHY = "<why>"
HOME = "--controller-namespace"
_PLACEHOLDER = re.compile(r"\s*<.*>\s*", re.DOTALL)


def is_placeholder(text: str) -> bool:
    """Whether the text is one of ours in angle brackets, copied as it stood."""
    return bool(_PLACEHOLDER.fullmatch(text))


def age(seconds: float) -> str:
    """``43s``, ``12m``, ``3h``, ``2h5m``, ``4d``: two units below a day at most, as kubectl shows ages."""
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10 and rest:
        return f"{minutes}m{rest}s"
    if minutes < 180:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 8 and minutes:
        return f"{hours}h{minutes}m"
    return f"{hours}h" if hours < 48 else f"{hours // 24}d"


def between(start: object, end: datetime | object) -> str:
    """The age of the RFC 3339 text ``start`` at ``end``; "" when one of them is no time."""
    first, last = parse_rfc3339(start), end if isinstance(end, datetime) else parse_rfc3339(end)
    return "" if first is None or last is None else age((last - first).total_seconds())


def instant(at: datetime) -> str:
    """``2026-03-01 12:00:00Z``."""
    return at.strftime("%Y-%m-%d %H:%M:%SZ")


def since(at: datetime, now: datetime) -> str:
    """``2026-03-01 12:00:00Z (5m ago)``."""
    return f"{instant(at)} ({age((now - at).total_seconds())} ago)"


def until(at: datetime, now: datetime) -> str:
    """``2026-03-01 12:00:00Z (in 5m)``, or that it is past."""
    left = (at - now).total_seconds()
    return f"{instant(at)} (in {age(left)})" if left > 0 else f"{instant(at)} (now)"


def one_line(text: str) -> str:
    """The text without line breaks and runs of blanks, control characters as ``?``: nothing plays with a terminal."""
    return plain(" ".join(text.split()))


def plain(text: str) -> str:
    """What is no character to be seen as ``?``: escape sequences, and marks that turn the direction of writing."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def cells(text: str) -> int:
    """How many columns of a terminal the text takes: East Asian wide characters and emoji two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1
        for c in text
    )


def head(text: str, width: int) -> str:
    """As much of the beginning as fits into ``width`` columns."""
    if text.isascii():
        return text[:width]
    used = 0
    for index, character in enumerate(text):
        used += cells(character)
        if used > width:
            return text[:index]
    return text


def wrapped(text: str, width: int, *, cut_words: bool) -> list[str]:
    """The text in lines of at most ``width`` columns, broken at blanks; a longer word is cut, or has its own line."""
    return list(_lines(_pieces(plain(text).split(), width) if cut_words else plain(text).split(), width)) or [""]


def _pieces(words: Iterable[str], width: int) -> Iterable[str]:
    for word in words:
        rest = word
        while cells(rest) > width:
            part = head(rest, width) or rest[:1]
            yield part
            rest = rest[len(part) :]
        if rest:
            yield rest


def _lines(words: Iterable[str], width: int) -> Iterable[str]:
    line = ""
    for word in words:
        if line and cells(line) + 1 + cells(word) > width:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    if line:
        yield line


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Spells commands for this cluster: what was typed to reach it is typed again.

    ``connection``: ``--kubeconfig``/``--context`` as given. ``places``: flags that only ``kubectl wfe`` knows.
    """

    connection: tuple[str, ...] = ()
    places: tuple[str, ...] = ()

    def wfe(self, verb: str, *words: str, namespace: str = "") -> str:
        """``kubectl wfe VERB WORDS -n NAMESPACE``; "" = no namespace."""
        where = ("-n", namespace) if namespace else ()
        return _spelled("kubectl", "wfe", verb, *words, *where, *self.connection, *self.places)

    def at_home(self, home: str) -> CommandLine:
        """The same for a controller in namespace ``home``."""
        places = list(self.places)
        if HOME in places:
            at = places.index(HOME)
            del places[at : at + 2]
        return CommandLine(self.connection, (HOME, home, *places))

    def on(self, verb: str, key: ObjectKey, *words: str) -> str:
        """``wfe`` about one object."""
        return self.wfe(verb, key.name, *words, namespace=key.namespace)

    def kubectl(self, *words: str, namespace: str = "") -> str:
        """``kubectl -n NAMESPACE WORDS``."""
        where = ("-n", namespace) if namespace else ()
        return _spelled("kubectl", *where, *self.connection, *words)


def _spelled(*words: str) -> str:
    return " ".join(shlex.quote(word) for word in words)


def folded(command: str, width: int) -> list[str]:
    """The command in lines of at most ``width`` characters where its words allow, joined by backslashes."""
    lines = [""]
    for word in _tokens(command):
        longer = f"{lines[-1]} {word}" if lines[-1].strip() else f"{lines[-1]}{word}"
        if len(longer) + 2 > width and lines[-1].strip():
            lines[-1] += " \\"
            lines.append(f"    {word}")
        else:
            lines[-1] = longer
    return lines


def _tokens(command: str) -> list[str]:
    """Shell words with their quotes, so that no line is cut inside of one. A flag stays with its value."""
    words = re.findall(r"(?:[^\s'\"]|'[^']*'|\"[^\"]*\")+", command)
    out: list[str] = []
    for word in words:
        if out and re.fullmatch(r"--?[a-z-]+", out[-1]) and not word.startswith("-"):
            out[-1] += f" {word}"
        else:
            out.append(word)
    return out
