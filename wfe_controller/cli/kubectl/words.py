"""Words for people: instants, ages, names, and command lines that can be copied. Pure.

Neighbours: the views and explain. Invariant: a command that is printed can be run as it stands, but for what only a
person knows, which stands in angle brackets and is refused when it comes back (``is_placeholder``).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from datetime import datetime

from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.objects import ObjectKey

WHAT_YOU_FOUND = "<what you found on the target>"
WHY = "<why>"
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
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


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
