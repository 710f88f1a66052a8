"""JSON as Go reads it: the error texts of its scanner, and what the fast parser of Python cannot say.

``decode`` comes here only when a body is broken, nested deeper than Python's own parser goes, has a key twice, or holds
half a surrogate pair. The parser keeps its own stack, so nesting costs memory and never the process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MAX_DEPTH = 10_000

_SPACE = b" \t\r\n"
_DIGITS = b"0123456789"
_HEX = b"0123456789abcdefABCDEF"
_ESCAPES = {0x22: '"', 0x5C: "\\", 0x2F: "/", 0x62: "\b", 0x66: "\f", 0x6E: "\n", 0x72: "\r", 0x74: "\t"}
_LITERALS: dict[int, tuple[bytes, Any]] = {0x74: (b"true", True), 0x66: (b"false", False), 0x6E: (b"null", None)}
_END = "unexpected end of JSON input"


class SyntaxProblem(ValueError):
    """What Go's encoding/json says about a body that is not JSON."""


class NumberProblem(Exception):
    """What Go says about a number no float can hold."""


@dataclass(slots=True)
class Parsed:
    """``duplicates`` are paths such as ``spec.a`` and ``items[0].b``; ``depth`` is the deepest nesting met."""

    value: Any
    duplicates: list[str] = field(default_factory=list)
    depth: int = 0


@dataclass(slots=True)
class _Frame:
    """A container that is still open; ``key`` is the object key whose value comes next."""

    container: dict[str, Any] | list[Any]
    path: str
    key: str = ""

    def child_path(self) -> str:
        if isinstance(self.container, list):
            return f"{self.path}[{len(self.container)}]"
        return f"{self.path}.{self.key}" if self.path else self.key


def _merged(before: dict[str, Any], value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    merged = dict(before)
    for key, child in value.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, child) if isinstance(inner, dict) else child
    return merged


def quote_char(code: int) -> str:
    """One byte as Go prints it in a syntax error."""
    if code == 0x27:
        return "'\\''"
    if code == 0x22:
        return "'\"'"
    char = chr(code)
    named = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\"}
    if char in named:
        return f"'{named[char]}'"
    if char.isprintable():
        return f"'{char}'"
    return f"'\\x{code:02x}'" if code < 0x80 else f"'\\u{code:04x}'"


def number(text: str) -> int | float:
    """A JSON number as Kubernetes keeps it: an int when it fits 64 bits, also when it was written ``1.0``."""
    if text.lstrip("-").isdigit() and len(text) <= 20:  # Python refuses to read thousands of digits
        whole = int(text)
        if -(2**63) <= whole < 2**63:
            return whole
    real = float(text)
    if real in (float("inf"), float("-inf")):
        raise NumberProblem(f"json: cannot unmarshal number {text} into Go value of type float64")
    return int(real) if real.is_integer() and abs(real) < 2**63 else real


def parse(body: bytes, *, merge: bool = False) -> Parsed:
    """Parse, or raise SyntaxProblem with Go's words.

    ``merge``: an object under a key that was there already is decoded into the first one, as into a Go struct or map;
    otherwise the last value counts.
    """
    return _Parser(body, merge).run()


class _Parser:
    def __init__(self, body: bytes, merge: bool) -> None:
        self._body = body
        self._merge = merge
        self._at = 0
        self._stack: list[_Frame] = []
        self._duplicates: list[str] = []
        self._deepest = 0

    def run(self) -> Parsed:
        value = self._value()
        while True:
            if not self._stack:
                code = self._peek()
                if code is not None:
                    raise self._unexpected(code, "after top-level value")
                return Parsed(value, self._duplicates, self._deepest)
            value = self._step(value)

    _NOTHING: Any = object()

    def _value(self) -> Any:
        """The next scalar, or _NOTHING after a container has been opened."""
        code = self._need()
        if code in b"{[":
            return self._open(code)
        if code == 0x22:
            return self._string()
        if code == 0x2D or code in _DIGITS:
            return self._number()
        if code in _LITERALS:
            return self._literal(*_LITERALS[code])
        raise self._unexpected(code, "looking for beginning of value")

    def _open(self, code: int) -> Any:
        if len(self._stack) >= MAX_DEPTH:
            raise SyntaxProblem(f"invalid character {quote_char(code)} exceeded max depth")
        path = self._stack[-1].child_path() if self._stack else ""
        self._at += 1
        container: dict[str, Any] | list[Any] = {} if code == 0x7B else []
        self._stack.append(_Frame(container, path))
        self._deepest = max(self._deepest, len(self._stack))
        following = self._need()
        if following == (0x7D if code == 0x7B else 0x5D):
            self._at += 1
            return self._stack.pop().container
        if code == 0x7B:
            self._key()
        return self._NOTHING

    def _step(self, value: Any) -> Any:
        """Put a finished value where it belongs and go on; returns the next finished value or _NOTHING."""
        if value is self._NOTHING:
            return self._value()
        frame = self._stack[-1]
        code_end, where = (0x7D, "after object key:value pair")
        if isinstance(frame.container, list):
            frame.container.append(value)
            code_end, where = (0x5D, "after array element")
        else:
            before = frame.container.get(frame.key) if self._merge else None
            frame.container[frame.key] = _merged(before, value) if isinstance(before, dict) else value
        code = self._need()
        if code == 0x2C:
            self._at += 1
            if isinstance(frame.container, dict):
                self._need()
                self._key()
            return self._NOTHING
        if code == code_end:
            self._at += 1
            return self._stack.pop().container
        raise self._unexpected(code, where)

    def _key(self) -> None:
        code = self._need()
        if code != 0x22:
            raise self._unexpected(code, "looking for beginning of object key string")
        frame = self._stack[-1]
        frame.key = self._string()
        assert isinstance(frame.container, dict)
        if frame.key in frame.container:
            path = frame.child_path()
            if path not in self._duplicates:
                self._duplicates.append(path)
        code = self._need()
        if code != 0x3A:
            raise self._unexpected(code, "after object key")
        self._at += 1

    def _string(self) -> str:
        self._at += 1
        out: list[str] = []
        start = self._at
        while True:
            code = self._byte()
            if code == 0x22:
                out.append(self._text(start))
                self._at += 1
                return _join_surrogates("".join(out))
            if code < 0x20:
                raise self._unexpected(code, "in string literal")
            if code == 0x5C:
                out.append(self._text(start))
                self._at += 1
                out.append(self._escape())
                start = self._at
            else:
                self._at += 1

    def _text(self, start: int) -> str:
        return self._body[start : self._at].decode("utf-8", "replace")

    def _escape(self) -> str:
        code = self._byte()
        self._at += 1
        if code in _ESCAPES:
            return _ESCAPES[code]
        if code != 0x75:
            raise self._unexpected(code, "in string escape code")
        for _ in range(4):
            digit = self._byte()
            if digit not in _HEX:
                raise self._unexpected(digit, "in \\u hexadecimal character escape")
            self._at += 1
        return chr(int(self._body[self._at - 4 : self._at], 16))

    def _number(self) -> int | float:
        start = self._at
        if self._body[self._at] == 0x2D:
            self._at += 1
            code = self._byte()
            if code not in _DIGITS:
                raise self._unexpected(code, "in numeric literal")
        if self._body[self._at] == 0x30:
            self._at += 1
        else:
            self._digits()
        if self._is(b"."):
            self._at += 1
            self._some_digits("after decimal point in numeric literal")
        if self._is(b"eE"):
            self._at += 1
            if self._is(b"+-"):
                self._at += 1
            self._some_digits("in exponent of numeric literal")
        return number(self._body[start : self._at].decode("ascii"))

    def _some_digits(self, where: str) -> None:
        code = self._byte()
        if code not in _DIGITS:
            raise self._unexpected(code, where)
        self._digits()

    def _digits(self) -> None:
        while self._is(_DIGITS):
            self._at += 1

    def _is(self, codes: bytes) -> bool:
        return self._at < len(self._body) and self._body[self._at] in codes

    def _literal(self, word: bytes, value: Any) -> Any:
        for expected in word:
            code = self._byte()
            if code != expected:
                raise self._unexpected(code, f"in literal {word.decode()} (expecting {quote_char(expected)})")
            self._at += 1
        return value

    def _peek(self) -> int | None:
        while self._at < len(self._body) and self._body[self._at] in _SPACE:
            self._at += 1
        return self._body[self._at] if self._at < len(self._body) else None

    def _need(self) -> int:
        code = self._peek()
        if code is None:
            raise SyntaxProblem(_END)
        return code

    def _byte(self) -> int:
        if self._at >= len(self._body):
            raise SyntaxProblem(_END)
        return self._body[self._at]

    def _unexpected(self, code: int, where: str) -> SyntaxProblem:
        return SyntaxProblem(f"invalid character {quote_char(code)} {where}")


def _join_surrogates(text: str) -> str:
    """Pairs become their character, halves U+FFFD: nothing else can be written as UTF-8 again."""
    if not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
