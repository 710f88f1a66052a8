"""Two objects under one schema: what differs between them, what one laid over the other gives, one without some fields.

Companion of ``typed``; ``managedfields`` compares, ``apply`` merges and removes. Nothing here changes its input;
results may share parts with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wfe_controller.sandbox.apiserver.fieldsets import FieldSet, field_element
from wfe_controller.sandbox.apiserver.typed import MISSING, Atom, ListType, MapType, Type, TypedError, item_element

Json = dict[str, Any]


@dataclass(slots=True)
class Comparison:
    """Fields of the second object against the first."""

    removed: FieldSet = field(default_factory=FieldSet)
    modified: FieldSet = field(default_factory=FieldSet)
    added: FieldSet = field(default_factory=FieldSet)

    def ignoring(self, fields: FieldSet | None) -> Comparison:
        """Without some fields and everything below them."""
        if not fields:
            return self
        return Comparison(self.removed.without(fields), self.modified.without(fields), self.added.without(fields))


def compare(old: Any, new: Any, kind: Type) -> Comparison:
    """What a change from ``old`` to ``new`` removes, modifies and adds. Raises ValueError for keyless list items."""
    found = Comparison()
    _compare(old, new, kind, found, "")
    return found


def _compare(old: Any, new: Any, kind: Type, into: Comparison, element: str) -> None:
    if old is MISSING:
        _all_of(new, kind, into.added, element)
    elif new is MISSING:
        _all_of(old, kind, into.removed, element)
    elif not _same(old, new):
        before, after = kind.for_value(old), kind.for_value(new)
        if not _same_shape(before, after):
            _compare_atom(before, old, new, into, element)
        _compare_atom(after, old, new, into, element)


def _same(old: Any, new: Any) -> bool:
    # JSON's true and 1 are equal in Python; a schema tells them apart long before this.
    return bool(old == new)


def _same_shape(one: Atom, other: Atom) -> bool:
    return one.scalar == other.scalar and one.list is other.list and one.map is other.map


def _all_of(value: Any, kind: Type, into: FieldSet, element: str) -> None:
    """The place of a value and every place below it: the other side has none of them, so nothing is compared."""
    atom = kind.for_value(value)
    children = FieldSet()
    if atom.map is not None:
        if not atom.map.atomic and isinstance(value, dict):
            for name, child in value.items():
                inner = atom.map.fields.get(name, atom.map.element)
                if inner is None:
                    raise TypedError([f".{name}: field not declared in schema"])
                _all_of(child, inner, children, field_element(name))
    elif not atom.scalar and atom.list is not None and atom.list.associative and isinstance(value, list):
        for place, items in _by_element(atom.list, value).items():
            if len(items) == 1:
                _all_of(items[0], atom.list.element, children, place)
            else:
                children.members.add(place)
    into.members.add(element)
    if children.members:
        present = into.children.get(element)
        into.children[element] = children if present is None else present.union(children)


def _compare_atom(atom: Atom, old: Any, new: Any, into: Comparison, element: str) -> None:
    if atom.map is not None:
        before, after = _as(dict, old), _as(dict, new)
        if not atom.map.atomic and (before or after):
            _descend(into, element, lambda deeper: _compare_maps(atom.map, before, after, deeper))
            return
    elif not atom.scalar and atom.list is not None:
        first, second = _as(list, old), _as(list, new)
        if atom.list.associative and (first or second):
            _descend(into, element, lambda deeper: _compare_lists(atom.list, first or [], second or [], deeper))
            return
    if element:
        into.modified.members.add(element)


def _as(kind: type, value: Any) -> Any:
    return value if isinstance(value, kind) else None


def _descend(into: Comparison, element: str, visit: Callable[[Comparison], None]) -> None:
    if not element:
        visit(into)
        return
    deeper = Comparison()
    visit(deeper)
    for parent, child in (
        (into.removed, deeper.removed),
        (into.modified, deeper.modified),
        (into.added, deeper.added),
    ):
        if child.members or child.children:
            present = parent.children.get(element)
            parent.children[element] = child if present is None else present.union(child)


def _compare_maps(kind: MapType | None, old: Json | None, new: Json | None, into: Comparison) -> None:
    assert kind is not None
    left, right = old or {}, new or {}
    for name in left.keys() | right.keys():
        inner = kind.fields.get(name, kind.element)
        if inner is None:
            raise TypedError([f".{name}: field not declared in schema"])
        before, after = left.get(name, MISSING), right.get(name, MISSING)
        if kind.zero is not None:
            # A field that a Go struct always has exists even when its JSON is left out, as long as the struct does;
            # and a null can only stand for a field of that sort.
            if before is MISSING and old is not None:
                before = None if after is None else kind.zero.get(name, MISSING)
            elif after is MISSING and new is not None:
                after = None if before is None else kind.zero.get(name, MISSING)
        _compare(before, after, inner, into, field_element(name))


def _compare_lists(kind: ListType | None, old: list[Any], new: list[Any], into: Comparison) -> None:
    assert kind is not None
    before, after = _by_element(kind, old), _by_element(kind, new)
    for element in {**before, **after}:
        first, second = before.get(element, []), after.get(element, [])
        if len(first) <= 1 and len(second) <= 1:
            one = first[0] if first else MISSING
            _compare(one, second[0] if second else MISSING, kind.element, into, element)
        elif len(first) >= 2 and len(second) >= 2:
            if first != second:
                into.modified.members.add(element)
        elif len(first) >= 2:
            if second:
                _compare(MISSING, second[0], kind.element, into, element)
            into.removed.members.add(element)
        else:
            if first:
                _compare(first[0], MISSING, kind.element, into, element)
            into.added.members.add(element)


def _by_element(kind: ListType, items: list[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for item in items:
        found.setdefault(item_element(kind, item), []).append(item)
    return found


# -- one laid over the other --------------------


def merge(live: Any, applied: Any, kind: Type) -> Any:
    """``applied`` laid over ``live``; MISSING where neither leaves a value."""
    before, after = kind.for_value(live), kind.for_value(applied)
    return _merge_atom(before if applied is MISSING else after, live, applied)


def _merge_atom(atom: Atom, live: Any, applied: Any) -> Any:
    if atom.map is not None:
        before, after = _as(dict, live), _as(dict, applied)
        if not atom.map.atomic and (before or after):
            return _merge_maps(atom.map, before or {}, after or {})
    elif not atom.scalar and atom.list is not None:
        first, second = _as(list, live), _as(list, applied)
        if atom.list.associative and (first or second):
            return _merge_lists(atom.list, first or [], second or [])
    return live if applied is MISSING else applied


def _merge_maps(kind: MapType, live: Json, applied: Json) -> Any:
    out: Json = {}
    for name in {**live, **applied}:
        inner = kind.fields.get(name, kind.element)
        if inner is None:
            raise TypedError([f".{name}: field not declared in schema"])
        merged = merge(live.get(name, MISSING), applied.get(name, MISSING), inner)
        if merged is not MISSING:
            out[name] = merged
    return out if out else MISSING


def _merge_lists(kind: ListType, live: list[Any], applied: list[Any]) -> Any:
    """Items of both, in the order of the applied list where that says something, else in the live one's."""
    left = [item_element(kind, item) for item in live]
    right = [item_element(kind, item) for item in applied]
    repeated = {element for element, times in Counter(left).items() if times > 1}
    # An item that is there several times is not merged with the applied one: nobody could say with which.
    lives = {element: (None if element in repeated else item) for element, item in zip(left, live, strict=True)}
    applies = dict(zip(right, applied, strict=True))
    shared = [element for element in right if element in lives]
    done: set[str] = set()
    out: list[Any] = []

    def take(element: str, before: Any, after: Any) -> None:
        merged = merge(before, after, kind.element)
        if merged is not MISSING:
            out.append(merged)

    i = j = 0
    while i < len(left) or j < len(right):
        awaited = shared[0] if shared else None
        if i < len(left) and j < len(right):
            element = left[i]
            if element == right[j]:
                done.add(element)
                take(element, lives[element], applies[element])
                i, j = i + 1, j + 1
                shared = shared[1:]
                continue
            if element in applies and awaited is not None and awaited != element:
                i += 1
                continue
        if i < len(left):
            element = left[i]
            if element not in applies:
                take(element, live[i], MISSING)
                i += 1
                continue
            if element in done:
                i += 1
        if j < len(right):
            element = right[j]
            done.add(element)
            take(element, lives.get(element, MISSING), applies[element])
            j += 1
            if element == awaited:
                shared = shared[1:]
    return out if out else MISSING


# -- without some fields --------------------


def remove(value: Any, fields: FieldSet, kind: Type) -> Any:
    """The value without the fields of a set; what is emptied by that becomes null, as in the real server."""
    atom = kind.for_value(value)
    if atom.map is not None:
        return _remove_from_map(atom.map, value, fields) if isinstance(value, dict) else None
    if atom.scalar:
        return value
    if atom.list is not None:
        return _remove_from_list(atom.list, value, fields) if isinstance(value, list) else None
    return None


def _remove_from_map(kind: MapType, value: Json, fields: FieldSet) -> Any:
    if kind.atomic:
        return None
    out: Json = {}
    for name, item in value.items():
        element = field_element(name)
        if element in fields.members:
            continue
        below = fields.children.get(element)
        inner = kind.fields.get(name, kind.element)
        out[name] = remove(item, below, inner) if below and inner is not None else item
    return out or None


def _remove_from_list(kind: ListType, value: list[Any], fields: FieldSet) -> Any:
    if not kind.associative:
        return None
    out: list[Any] = []
    for item in value:
        element = item_element(kind, item)
        if element in fields.members:
            continue
        below = fields.children.get(element)
        out.append(remove(item, below, kind.element) if below else item)
    return out or None


def with_named(fields: FieldSet, kind: Type | None) -> FieldSet:
    """The set plus every declared field on the way to its members, so that removing takes emptied structs along."""
    atom = kind.atom if kind is not None else Atom()
    members = set(fields.members)
    children: dict[str, FieldSet] = {}
    for element, child in fields.children.items():
        inner: Type | None = None
        if element.startswith("f:") and atom.map is not None:
            name = element[2:]
            inner = atom.map.fields.get(name, atom.map.element)
            if name in atom.map.fields:
                members.add(element)
        elif element.startswith("k:") and atom.list is not None:
            inner = atom.list.element
        children[element] = with_named(child, inner)
    return FieldSet(members, children)
