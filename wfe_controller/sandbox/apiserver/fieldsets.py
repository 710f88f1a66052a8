"""Sets of field paths and their ``fieldsV1`` form, the currency of managedFields.

``typed`` makes them from objects, ``managedfields`` keeps one per manager. A path element is kept as the string that
fieldsV1 writes for it (``f:name``, ``k:{"name":"a"}``, ``v:"x"``, ``i:0``), so equal elements are equal strings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

Json = dict[str, Any]
Path = tuple[str, ...]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
_CLASSES = {"f": 0, "k": 1, "v": 2, "i": 3}


def _compact(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = _encode(value)
    # The real codec escapes for HTML; two servers that differ here would see two different elements.
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def field_element(name: str) -> str:
    return "f:" + name


def key_element(keys: Json) -> str:
    """The element of a list map item; ``keys`` are its key fields."""
    return "k:" + _compact(keys)


def value_element(value: object) -> str:
    return "v:" + _compact(value)


def _rank(value: object) -> tuple[Any, ...]:
    # Numbers, then strings, then booleans, then the rest; lists and maps are no keys.
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, (int, float)):
        return (0, value)
    if isinstance(value, str):
        return (1, value)
    return (3, _compact(value))


@lru_cache(maxsize=4096)
def element_order(element: str) -> tuple[Any, ...]:
    """Sort key: fields, keys, values, indexes; keys and values by content, not by text."""
    kind, _, rest = element.partition(":")
    if kind == "f":
        return (0, rest)
    parsed = json.loads(rest)
    if kind == "k":
        return (1, tuple((name, _rank(parsed[name])) for name in sorted(parsed)))
    return (_CLASSES[kind], _rank(parsed))


@lru_cache(maxsize=4096)
def element_text(element: str) -> str:
    """As conflicts name it: ``.spec``, ``[name="a"]``, ``[="x"]``, ``[0]``."""
    kind, _, rest = element.partition(":")
    if kind == "f":
        return "." + rest
    parsed = json.loads(rest)
    if kind == "k":
        return "[" + ",".join(f"{name}={_value_text(parsed[name])}" for name in sorted(parsed)) + "]"
    return f"[={_value_text(parsed)}]" if kind == "v" else f"[{parsed}]"


def _value_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def path_text(path: Path) -> str:
    return "".join(element_text(element) for element in path)


class FieldSet:
    """A tree of path elements. ``members`` belong to the set themselves, ``children`` have descendants that do.

    Operations return new sets that may share subtrees: a set is not changed once it is shared. Only :meth:`insert`
    and the builders in ``typed`` change one.
    """

    __slots__ = ("children", "members")

    def __init__(self, members: set[str] | None = None, children: dict[str, FieldSet] | None = None) -> None:
        self.members: set[str] = members if members is not None else set()
        self.children: dict[str, FieldSet] = children if children is not None else {}

    @classmethod
    def of(cls, *paths: Path) -> FieldSet:
        made = cls()
        for path in paths:
            made.insert(path)
        return made

    def insert(self, path: Path) -> None:
        """Add one path; the empty path (the whole object) is never tracked."""
        if not path:
            return
        node = self
        for element in path[:-1]:
            node = node.children.setdefault(element, FieldSet())
        node.members.add(path[-1])

    def __bool__(self) -> bool:
        return bool(self.members) or any(self.children.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldSet) and self.members == other.members and self.children == other.children

    __hash__ = None  # type: ignore[assignment]  # sets are built up by changes, so they have no hash

    def has(self, path: Path) -> bool:
        node = self
        for element in path[:-1]:
            child = node.children.get(element)
            if child is None:
                return False
            node = child
        return bool(path) and path[-1] in node.members

    def paths(self, prefix: Path = ()) -> Iterator[Path]:
        """Every path; the members of a level come before what is below it, each in element order."""
        for element in sorted(self.members, key=element_order):
            yield (*prefix, element)
        for element in sorted(self.children, key=element_order):
            yield from self.children[element].paths((*prefix, element))

    def union(self, other: FieldSet) -> FieldSet:
        children = dict(self.children)
        for element, child in other.children.items():
            mine = children.get(element)
            children[element] = mine.union(child) if mine is not None else child
        return FieldSet(self.members | other.members, children)

    def intersection(self, other: FieldSet) -> FieldSet:
        children = {}
        for element, child in self.children.items():
            theirs = other.children.get(element)
            both = child.intersection(theirs) if theirs is not None else None
            if both:
                children[element] = both
        return FieldSet(self.members & other.members, children)

    def difference(self, other: FieldSet) -> FieldSet:
        """Without the paths of ``other``; what lies below them stays."""
        children = {}
        for element, child in self.children.items():
            theirs = other.children.get(element)
            rest = child.difference(theirs) if theirs is not None else child
            if rest:
                children[element] = rest
        return FieldSet(self.members - other.members, children)

    def without(self, other: FieldSet) -> FieldSet:
        """Without the paths of ``other`` and everything below them."""
        children = {}
        for element, child in self.children.items():
            if element in other.members:
                continue
            theirs = other.children.get(element)
            rest = child.without(theirs) if theirs is not None else child
            if rest:
                children[element] = rest
        return FieldSet(self.members - other.members, children)

    def to_json(self) -> Json:
        """The fieldsV1 object, keys in the real order."""
        fields: Json = {}
        for element in sorted(self.members | self.children.keys(), key=element_order):
            child = self.children.get(element)
            content = child.to_json() if child is not None else {}
            if child is not None and element in self.members and content:
                content = {".": {}, **content}
            fields[element] = content
        return fields

    @classmethod
    def from_json(cls, fields: object) -> FieldSet:
        """Read fieldsV1; unknown kinds of elements are dropped. Raises ValueError for what is not fieldsV1."""
        made = cls()
        made._read(fields)
        return made

    def _read(self, fields: object) -> bool:
        # Whether the owner of these fields is itself a member: "." says so, and so does an empty object.
        if not isinstance(fields, dict):
            raise ValueError(f"expected an object, got {fields!r}")
        is_member = False
        for key, value in fields.items():
            if key == ".":
                is_member = True
                continue
            element = normalised(key)
            if element is None:
                continue
            child = FieldSet()
            if child._read(value):
                self.members.add(element)
            if child.members or child.children:
                self.children[element] = child
        return is_member or not (self.members or self.children)


def normalised(key: str) -> str | None:
    """One fieldsV1 key in our form of it; None for kinds of a future version. Raises ValueError when it is broken."""
    kind, colon, rest = key[:1], key[1:2], key[2:]
    if len(key) < 2:
        raise ValueError("key must be 2 characters long:")
    if colon != ":":
        raise ValueError(f"missing colon: {key}")
    if kind == "f":
        return key
    if kind not in _CLASSES:
        return None
    parsed = json.loads(rest)
    if kind == "k":
        if not isinstance(parsed, dict):
            raise ValueError(f"expected an object of keys: {key}")
        return key_element(parsed)
    if kind == "i":
        return f"i:{int(parsed)}"
    return value_element(parsed)
