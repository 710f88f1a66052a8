"""What one setting may be: types that read it from YAML, from text and from Python, and refuse it with a remedy.

Neighbour: app/config has the settings that are of these types. Kept here: a refusal says the rule and how to write
the value; key and origin are added where they are known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from wfe_controller.api.durations import DurationError, parse_duration
from wfe_controller.app.addresses import parse_address

CONTROLLERS = ("workflowexecution",)

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_REGISTRY = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?(/[a-z0-9._/-]+)?")


def _refuse(rule: str) -> PydanticCustomError:
    # The text goes in as a context value: braces in it would be read as a template.
    return PydanticCustomError("setting", "{rule}", {"rule": rule})


def seconds(value: object) -> float:
    """A duration in seconds; text needs a unit."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, float):  # Python callers; YAML and text have no way to make sense of a bare number
        return value
    hint = "write a duration with its unit, like 90s, 5m or 1h30m"
    if not isinstance(value, str):
        raise _refuse(f"not a duration; {hint}")
    try:
        return parse_duration(value.strip()).total_seconds()
    except DurationError:
        raise _refuse(f"not a duration; {hint}") from None


def _positive(value: float) -> float:
    if value <= 0:
        raise _refuse("must be longer than 0; write it like 10s or 5m")
    return value


def _not_negative(value: float) -> float:
    if value < 0:
        raise _refuse("must not be negative; 0s turns it off")
    return value


def _address(value: str) -> str:
    try:
        parse_address(value)
    except ValueError as error:
        raise _refuse(f"not an address; {error}") from None
    return value


def _matching(pattern: re.Pattern[str], rule: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise _refuse(rule)
        return value

    return check


def _split(value: object) -> object:
    """Lists may come as text from the environment and from flags: ``a,b`` or a JSON array."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise _refuse("not a list; write a,b or a JSON array") from None
    return [part.strip() for part in value.split(",") if part.strip()]


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) != len(value):
        raise _refuse("names something twice; remove the repetition")
    return value


def _number(value: object) -> object:
    if isinstance(value, bool):  # pydantic would read YAML's "yes" as 1
        raise _refuse("must be a number")
    return value


def lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _level(value: object) -> object:
    return "warning" if lower(value) == "warn" else lower(value)


def _blank_is_unset(value: object) -> object:
    return None if value == "" else value


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _refuse("not a URL; write it like http://data-storage-service:8080")
    return value


def _known_controller(value: str) -> str:
    if value not in CONTROLLERS:
        raise _refuse(f"this version has no such controller; use {', '.join(CONTROLLERS)}")
    return value


_AnyDuration = Annotated[float, BeforeValidator(seconds)]
Duration = Annotated[_AnyDuration, AfterValidator(_positive)]
DurationOrOff = Annotated[_AnyDuration, AfterValidator(_not_negative)]
Number = Annotated[int, BeforeValidator(_number)]
Rate = Annotated[float, BeforeValidator(_number)]
AddressText = Annotated[str, AfterValidator(_address)]
_NAME_RULE = "write lower-case letters, digits and '-', starting and ending with a letter or digit"
Namespace = Annotated[str, AfterValidator(_matching(_DNS_LABEL, f"not a namespace name; {_NAME_RULE}, at most 63"))]
ObjectName = Annotated[
    str,
    AfterValidator(_matching(_DNS_SUBDOMAIN, f"not an object name; {_NAME_RULE}, parts joined by '.', at most 253")),
]
Registry = Annotated[
    str,
    AfterValidator(_matching(_REGISTRY, "not a registry; write host[:port][/path], like registry.example.com/team")),
]
Names = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_distinct)]
Namespaces = Annotated[tuple[Namespace, ...], BeforeValidator(_split), AfterValidator(_distinct)]
ObjectNames = Annotated[tuple[ObjectName, ...], BeforeValidator(_split), AfterValidator(_distinct)]
Registries = Annotated[tuple[Registry, ...], BeforeValidator(_split), AfterValidator(_distinct)]
Level = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_level)]
Engines = Annotated[tuple[Literal["tekton", "steps"], ...], BeforeValidator(_split), AfterValidator(_distinct)]
Controllers = Annotated[
    tuple[Annotated[str, AfterValidator(_known_controller)], ...], BeforeValidator(_split), AfterValidator(_distinct)
]
HttpUrl = Annotated[str, AfterValidator(_url)]
Blank = BeforeValidator(_blank_is_unset)
