"""Resource quantities (``500m``, ``1Gi``): their value, and the one form the real server writes them in."""

from __future__ import annotations

import re
from fractions import Fraction

_QUANTITY = re.compile(
    r"([+-]?)([0-9]{1,999}\.?[0-9]{0,999}|\.[0-9]{1,999})([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?"
)
"""Within bounds: on an exponent of nine digits a real server works for minutes, and this one has but one thread."""
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_NANO = Fraction(1, 10**9)


def is_quantity(text: str) -> bool:
    return _QUANTITY.fullmatch(text) is not None


def parse_quantity(text: str) -> Fraction:
    """The value, rounded up to nanos; raises ValueError."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(text)
    sign, digits, suffix = match.group(1), match.group(2), match.group(3) or ""
    value = Fraction(digits + "0" if digits.endswith(".") else digits)
    if suffix in _BINARY:
        value *= 2 ** _BINARY[suffix]
    elif suffix in _DECIMAL:
        value *= Fraction(10) ** _DECIMAL[suffix]
    else:
        value *= Fraction(10) ** int(suffix[1:])
    value = Fraction(-(-value // _NANO)) * _NANO
    return -value if sign == "-" else value


def canonical(text: str) -> str:
    """The quantity as the real server writes it: no fraction, the largest suffix of its family that allows that."""
    value = parse_quantity(text)
    match = _QUANTITY.fullmatch(text)
    suffix = (match.group(3) or "") if match is not None else ""
    if not value:
        return "0"
    if suffix in _BINARY and value.denominator == 1 and abs(value) >= 1024:
        for name, shift in sorted(_BINARY.items(), key=lambda item: -item[1]):
            if value % 2**shift == 0:
                return f"{value / 2**shift}{name}"
        return str(value)
    exponents = sorted(_DECIMAL.items(), key=lambda item: -item[1])
    for name, power in exponents:
        scaled = value / Fraction(10) ** power
        if scaled.denominator == 1:
            if suffix[:1] in ("e", "E") and len(suffix) > 1:
                return f"{scaled}e{power}" if power else str(scaled)
            return f"{scaled}{name}"
    return text
