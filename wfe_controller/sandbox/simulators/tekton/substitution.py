"""Puts values in the place of ``$(...)``. Pure.

Two kinds of words: strings, and arrays, which stand whole as ``$(params.x[*])`` in a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from wfe_controller.kube.objects import items, mapping, text

Words = Mapping[str, str | list[str]]

_REFERENCE = re.compile(r"\$\(([^()$]+)\)")
_RESULT = re.compile(r"tasks\.([^.]+)\.results\.([^.\[]+)")


def substitute(value: Any, words: Words) -> Any:
    """``value`` with every known reference replaced, at any depth; unknown ones stay as they are."""
    if isinstance(value, str):
        return _REFERENCE.sub(lambda found: _text(words, found), value)
    if isinstance(value, dict):
        return {key: substitute(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [new for item in value for new in _entry(item, words)]
    return value


def _entry(item: Any, words: Words) -> list[Any]:
    if isinstance(item, str) and (found := _REFERENCE.fullmatch(item)):
        name = found[1]
        known = words.get(name.removesuffix("[*]"))
        if name.endswith("[*]") and isinstance(known, list):
            return list(known)
    return [substitute(item, words)]


def _text(words: Words, found: re.Match[str]) -> str:
    name = found[1].strip()
    bracketed = re.fullmatch(r"params\[[\"'](.+)[\"']\]", name)
    known = words.get(f"params.{bracketed[1]}" if bracketed else name)
    if isinstance(known, str):
        return known
    indexed = re.fullmatch(r"(.+)\[(\d+)\]", name)
    if indexed and isinstance(array := words.get(indexed[1]), list) and int(indexed[2]) < len(array):
        return array[int(indexed[2])]
    return found[0]


def parameters(declared: object, given: object) -> dict[str, str | list[str]]:
    """``params.NAME`` -> value: what was given, else the default of the declaration. Objects give one word a key."""
    values: dict[str, Any] = {}
    for entry in items(declared):
        if "default" in mapping(entry):
            values[text(entry["name"])] = entry["default"]
    for entry in items(given):
        values[text(mapping(entry).get("name"))] = mapping(entry).get("value")
    words: dict[str, str | list[str]] = {}
    for name, value in values.items():
        if isinstance(value, str | list):
            words[f"params.{name}"] = value
        for key, item in mapping(value).items():
            words[f"params.{name}.{key}"] = text(item)
    return words


def without(words: Words, names: Iterable[str]) -> dict[str, str | list[str]]:
    """The words less those of parameters that something nearer declares under the same name."""
    hidden = {f"params.{name}" for name in names}
    return {key: value for key, value in words.items() if key not in hidden}


def names_of(entries: object) -> list[str]:
    return [text(mapping(entry).get("name")) for entry in items(entries)]


def result_references(value: Any) -> list[tuple[str, str]]:
    """(task, result) of every ``$(tasks.T.results.R)`` below ``value``, in order, once."""
    found: dict[tuple[str, str], None] = {}
    if isinstance(value, str):
        for reference in _REFERENCE.finditer(value):
            if match := _RESULT.match(reference[1]):
                found[match[1], match[2]] = None
    elif isinstance(value, dict):
        for item in value.values():
            found |= dict.fromkeys(result_references(item))
    elif isinstance(value, list):
        for item in value:
            found |= dict.fromkeys(result_references(item))
    return list(found)
