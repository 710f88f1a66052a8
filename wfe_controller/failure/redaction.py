"""Secrets out of text that people will read: status, events, logs, audit (SPEC 13, TH31). Total.

Neighbours: summary, tekton and unstarted pass every foreign text through ``redact``; app/logs uses it as a processor;
workflows/reconciler says with ``know`` which values the parameters of its object name as secrets, drafts and Events
pass through ``hide``. What is known is bound to the task, like the fields of its log lines: the text of an exception
is as far from the object it is about as a line of the log.
It errs towards hiding: a word too many is lost rather than a password kept. Every pattern is bounded, so that a log
line made to hurt costs linear time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar

MASK = "[REDACTED]"

SHORTEST = 4
"""Characters of a value that is hidden wherever it stands: hiding shorter ones would leave no text to read."""
_SHORTEST_LINE = 8
"""The same for one line of a value of many lines, of which a log may show only some."""
_MOST_FORMS = 1000

_SECRET_WORD = (
    r"(?:passw(?:or)?d|passwd|pass(?=[\\\"'\s]{0,8}[:=])|pwd|passphrase|secret|token|credentials?|"
    r"(?:api|access|account|private|shared|signing|encryption|auth|license)[_.-]?(?:access[_.-]?)?key|"
    r"sas[_.-]?(?:token|key)|sig(?:nature)?(?==)|conn(?:ection)?[_.-]?str(?:ing)?|cookie|session[_.-]?id|"
    r"database[_.-]?url|dsn|kubeconfig)"
)
_KEY_PATTERN = re.compile(
    r"passw(or)?d|passwd|pass$|pwd|passphrase|secret|token|credential|authorization|(^|[_.-])auth($|[_.-])|"
    r"(^|[_.-]|[a-z])key($|[_.-])|conn(ection)?[_.-]?str(ing)?|cookie|session[_.-]?id|dsn|database[_.-]?url|kubeconfig|"
    r"certificate|(^|[_.-])pem($|[_.-])",
    re.IGNORECASE,
)

# A value: masked already; in quotes; in the escaped quotes of JSON within a JSON string; in quotes that were cut; or
# bare. A bare one ends at white space, and at punctuation only where something else plainly begins behind it.
_VALUE = (
    r"(?:\[REDACTED\]"
    r"|\"(?:[^\"\\]|\\.){0,65536}\""
    r"|'(?:[^'\\]|\\.){0,65536}'"
    r"|\\\"(?:\\\\\\\"|[^\"\\]|\\[^\"]){0,65536}\\\""
    r"|\\?[\"'][^\"'\n]{0,65536}"
    r"|(?:[^\s\"'\\,;&]|[,;&](?!\s|$|[\w.%-]{1,64}[=:])|[\"'](?![\s,:;}\])]|$)|\\(?![\"'nrt])){1,65536})"
)

# Each pattern marks what to hide as group v. The first two are slow, and are tried only on texts with a character that
# each of their matches contains: names, UIDs and phases, of which log lines are full, have none.
_SIGN = re.compile("[:=]")
# password=hunter2, "api_key": "...", token: Bearer ...; another name behind the sign belongs to what is hidden.
_NAMES = r"(?:\\?[\"']?[\w.%-]{1,64}\\?[\"']?\s{0,8}[:=]\s{0,8}){0,4}"
_NAMED = re.compile(
    rf"(?i)(?<![A-Za-z0-9_.-])[\w.-]{{0,64}}?{_SECRET_WORD}[\w.-]{{0,64}}\\?[\"']?\s{{0,8}}(?:=>|[:=])\s{{0,8}}"
    rf"(?P<v>{_NAMES}(?:(?:bearer|basic)\s{{1,8}}{_NAMES})?{_VALUE})"
)
_SPACE = re.compile(r"\s")
# --password hunter2
_FLAG = re.compile(rf"(?i)--?[a-z0-9-]{{0,40}}{_SECRET_WORD}[a-z0-9-]{{0,40}}\s{{1,8}}(?!-)(?P<v>{_VALUE})")
_OTHERS: tuple[re.Pattern[str], ...] = (
    re.compile(r"(?P<v>-----BEGIN (?P<k>[A-Z0-9 ]{0,40}PRIVATE KEY)-----.*?(?:-----END (?P=k)-----|\Z))", re.DOTALL),
    re.compile(r"(?i)\b(?:proxy-)?authorization[\"']?\s{0,8}[:=]\s{0,8}[\"']?(?P<v>[^\"'\n]{1,65536})"),
    re.compile(r"(?i)\bbearer\s{1,8}(?P<v>\[REDACTED\]|[A-Za-z0-9._~+/=-]{6,65536})"),
    re.compile(r"(?i)\b[a-z][a-z0-9+.-]{1,30}://(?P<v>[^\s/@:\"']{0,256}:[^\s/\"']{1,1024})@"),
    re.compile(r"\b(?P<v>eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?)"),
    re.compile(r"\b(?P<v>(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ANVA)[0-9A-Z]{16})\b"),
    re.compile(
        r"\b(?P<v>gh[pousr]_[A-Za-z0-9]{16,255}|github_pat_[A-Za-z0-9_]{16,255}|glpat-[A-Za-z0-9_-]{16,255}|"
        r"xox[abeoprs]-[A-Za-z0-9-]{8,255}|AIza[0-9A-Za-z_-]{30,64}|sk[-_][A-Za-z0-9_-]{16,255}|"
        r"rk_live_[A-Za-z0-9]{16,255}|npm_[A-Za-z0-9]{30,64}|dckr_pat_[A-Za-z0-9_-]{16,255}|"
        r"hv[sb]\.[A-Za-z0-9_-]{16,255}|ya29\.[A-Za-z0-9_-]{16,255}|pypi-[A-Za-z0-9_-]{16,255})"
    ),
)

_KNOWN: ContextVar[tuple[str, ...]] = ContextVar("known_secret_values", default=())


def redact(text: str) -> str:
    """``text`` with passwords, tokens, keys, credentials in URLs, private keys and all that this task was told with
    ``know`` replaced by ``[REDACTED]``.

    The names next to the values stay, so that a reader still knows what was there. Every pattern looks at the text as
    it was: one that hides a name must not leave that name's value to be overlooked by the next.
    """
    named = (_NAMED,) if _SIGN.search(text) else ()
    flags = (_FLAG,) if _SPACE.search(text) else ()
    spans = [match.span("v") for pattern in (*named, *flags, *_OTHERS) for match in pattern.finditer(text)]
    return _masked(text, [*spans, *_known_in(text)])


def hide(text: str) -> str:
    """``text`` without the values that this task was told with ``know``; everything else stays. For our own words."""
    return _masked(text, list(_known_in(text)))


def know(parameters: Mapping[str, object]) -> None:
    """From here on this task, and those it starts, hide the values of these parameters that a name calls secret.

    Wherever they stand: a pipeline may print them under any name. Also as they look with their white space collapsed
    or escaped, and line by line. Replaces what was known before; what follows the object's reconcile in its task, a
    line of the worker about its error, is still covered.
    """
    forms = {
        form
        for name, value in parameters.items()
        if isinstance(value, str) and is_secret_key(name)
        for form in _forms(value.strip())
        if form not in MASK
    }
    _KNOWN.set(tuple(sorted(forms, key=len, reverse=True)[:_MOST_FORMS]))


def _forms(value: str) -> set[str]:
    if len(value) < SHORTEST:
        return set()
    whole = {value, " ".join(value.split()), json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    lines = {line.strip() for line in value.splitlines()} if "\n" in value else set()
    return whole | {line for line in lines if len(line) >= _SHORTEST_LINE}


def _known_in(text: str) -> Iterable[tuple[int, int]]:
    for value in _KNOWN.get():
        start = text.find(value)
        while start >= 0:
            yield start, start + len(value)
            start = text.find(value, start + len(value))


def _masked(text: str, spans: list[tuple[int, int]]) -> str:
    spans.sort()
    if not spans:
        return text
    out: list[str] = []
    position = hidden_until = 0
    for start, end in spans:
        if start >= hidden_until:
            out += [text[position:start], MASK]
            position = hidden_until = end
        elif end > hidden_until:
            position = hidden_until = end
    return "".join([*out, text[position:]])


def is_secret_key(key: str) -> bool:
    """True for a parameter name whose value nobody should read."""
    return _KEY_PATTERN.search(key) is not None


def shorten(text: str, limit: int) -> str:
    """At most ``limit`` characters, one line; the cut is visible."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: max(limit - 3, 0)].rstrip() + "..."
