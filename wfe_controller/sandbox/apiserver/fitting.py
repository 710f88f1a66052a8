"""Does a value fit its type, and what does server-side apply say when it does not?

``typed`` has the types; ``apply`` and ``managedfields`` are the callers.
"""

from __future__ import annotations

from typing import Any

from wfe_controller.sandbox.apiserver.fieldsets import field_element, path_text
from wfe_controller.sandbox.apiserver.govalues import go_syntax, go_text, go_type
from wfe_controller.sandbox.apiserver.typed import ListType, MapType, Type, TypedError, item_element

Json = dict[str, Any]


def check(value: Any, kind: Type, *, duplicates: bool = False) -> None:
    """Raise TypedError when the value does not fit; ``duplicates`` allows equal keys in associative lists."""
    lines: list[str] = []
    _check(value, kind, (), lines, duplicates)
    if lines:
        raise TypedError(lines)


def _line(path: tuple[str, ...], text: str) -> str:
    return f"{path_text(path)}: {text}" if path else text


def _check(value: Any, kind: Type, path: tuple[str, ...], lines: list[str], duplicates: bool) -> None:
    atom = kind.for_value(value)
    if atom.map is not None:
        if value is None:
            return
        if not isinstance(value, dict):
            lines.append(_line(path, f"expected map, got &{{{go_text(value)}}}"))
            return
        _check_map(value, atom.map, path, lines, duplicates)
    elif atom.scalar:
        problem = _scalar_problem(atom.scalar, value)
        if problem:
            lines.append(_line(path, problem))
    elif atom.list is not None:
        if value is None:
            return
        if not isinstance(value, list):
            lines.append(_line(path, f"expected list, got &{{{go_text(value)}}}"))
            return
        _check_list(value, atom.list, path, lines, duplicates)


def _check_map(value: Json, kind: MapType, path: tuple[str, ...], lines: list[str], duplicates: bool) -> None:
    for name, item in value.items():
        inner = kind.fields.get(name, kind.element)
        here = (*path, field_element(name))
        if inner is None:
            lines.append(_line(here, "field not declared in schema"))
            return
        _check(item, inner, here, lines, duplicates)


def _check_list(value: list[Any], kind: ListType, path: tuple[str, ...], lines: list[str], duplicates: bool) -> None:
    seen: set[str] = set()
    for index, item in enumerate(value):
        element = f"i:{index}"
        if kind.associative:
            try:
                element = item_element(kind, item)
            except ValueError as error:
                lines.append(_line(path, f"element {index}: {error}"))
                return
            if element in seen and not duplicates:
                lines.append(_line(path, f"duplicate entries for key {path_text((element,))}"))
            seen.add(element)
        _check(item, kind.element, (*path, element), lines, duplicates)


def _scalar_problem(scalar: str, value: Any) -> str:
    if value is None:
        return ""
    if scalar == "numeric" and (isinstance(value, bool) or not isinstance(value, (int, float))):
        return f"expected numeric (int or float), got {go_type(value)}"
    if scalar == "string" and not isinstance(value, str):
        return f"expected string, got &value.valueUnstructured{{Value:{go_syntax(value)}}}"
    if scalar == "boolean" and not isinstance(value, bool):
        return f"expected boolean, got &{{{go_text(value)}}}"
    if scalar == "untyped" and isinstance(value, (dict, list)):
        return f"expected any scalar, got &{{{go_text(value)}}}"
    return ""
