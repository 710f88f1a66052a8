"""The structural form of an ``openAPIV3Schema``, and what changes objects by it: pruning, defaults, dropped nulls.

``schema`` is the face of it, ``validation`` checks values against the same nodes, ``cel`` finds its rules on them.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from wfe_controller.sandbox.apiserver import definitions, gotypes

Json = dict[str, Any]


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()
"""Not there, which null is not."""

_HEAD = ("apiVersion", "kind", "metadata")


@dataclass(slots=True, eq=False)
class Node:
    """One place of a structural schema. ``additional`` None = none, True = anything."""

    type: str = ""
    properties: dict[str, Node] = field(default_factory=dict)
    additional: Node | bool | None = None
    items: Node | None = None
    nullable: bool = False
    int_or_string: bool = False
    preserve: bool = False
    embedded: bool = False
    default: Any = MISSING
    list_type: str = ""
    list_keys: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    raw: Json = field(default_factory=dict)
    defaults_below: bool = False
    """Whether this node or one below it has a default: what has none need not be walked. Likewise the next two."""
    embedded_below: bool = False
    keyed_below: bool = False
    """There is a list that is a set or a map."""

    @classmethod
    def compile(cls, schema: Json) -> Node:
        additional = schema.get("additionalProperties")
        node = cls(
            type=schema.get("type", ""),
            properties={name: cls.compile(child) for name, child in (schema.get("properties") or {}).items()},
            additional=cls.compile(additional) if isinstance(additional, dict) else bool(additional) or None,
            items=cls.compile(schema["items"]) if isinstance(schema.get("items"), dict) else None,
            nullable=bool(schema.get("nullable")),
            int_or_string=bool(schema.get("x-kubernetes-int-or-string")),
            preserve=bool(schema.get("x-kubernetes-preserve-unknown-fields")),
            embedded=bool(schema.get("x-kubernetes-embedded-resource")),
            default=schema.get("default", MISSING),
            list_type=schema.get("x-kubernetes-list-type", ""),
            list_keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
            required=tuple(schema.get("required") or ()),
            raw=schema,
        )
        below = [c for c in (*node.properties.values(), node.items, node.additional) if isinstance(c, Node)]
        node.defaults_below = node.default is not MISSING or any(child.defaults_below for child in below)
        node.embedded_below = node.embedded or any(child.embedded_below for child in below)
        node.keyed_below = node.list_type in ("set", "map") or any(child.keyed_below for child in below)
        return node

    def child(self, name: str) -> Node | None:
        found = self.properties.get(name)
        if found is None and isinstance(self.additional, Node):
            return self.additional
        return found


_EMPTY = Node()


@cache
def object_meta() -> gotypes.GoType:
    """The type of everybody's metadata."""
    return gotypes.compiled(definitions.schema(definitions.OBJECT_META))


def prune(value: Any, node: Node, path: str, unknown: list[str], *, root: bool = False) -> None:
    if isinstance(value, list):
        items = node.items or _EMPTY
        if node.preserve and node.items is None:
            return
        for index, child in enumerate(value):
            if isinstance(child, dict | list):
                prune(child, items, f"{path}[{index}]", unknown)
        return
    whole = root or node.embedded
    for name in list(value):
        where = f"{path}.{name}" if path else name
        if whole and name in _HEAD:
            if name == "metadata" and node.embedded and not root and isinstance(value[name], dict):
                value[name] = _embedded_metadata(value[name], where, unknown)
            continue
        child = node.child(name)
        if child is not None:
            if isinstance(value[name], dict | list):
                prune(value[name], child, where, unknown)
        elif node.preserve:
            continue
        elif node.additional is True:  # of any kind, and nothing is known about it
            if isinstance(value[name], dict | list):
                prune(value[name], _EMPTY, where, unknown)
        else:
            unknown.append(where)
            del value[name]


def _embedded_metadata(metadata: Json, where: str, unknown: list[str]) -> Any:
    shown = copy.deepcopy(metadata)
    decoder = gotypes.Decoder(fill=False)
    try:
        taken = decoder.run(metadata, object_meta(), where)
    except gotypes.Mismatch as error:
        text = json.dumps(shown, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        raise gotypes.Mismatch(f"{where}: Invalid value: {text}: {error}") from error
    unknown.extend(decoder.unknown)
    return taken


def fill_defaults(value: Any, node: Node, *, root: bool = False) -> None:
    if isinstance(value, list):
        items = node.items
        if items is None or not items.defaults_below:
            return
        for index, child in enumerate(value):
            if child is None and not items.nullable and items.default is not MISSING:
                value[index] = child = copy.deepcopy(items.default)
            if isinstance(child, dict | list):
                fill_defaults(child, items)
        return
    for name, child_node in node.properties.items():
        if child_node.default is not MISSING and not (root and name in _HEAD):
            present = value.get(name, MISSING)
            if present is MISSING or (present is None and not child_node.nullable):
                value[name] = copy.deepcopy(child_node.default)
    for name, child in value.items():
        below = node.child(name)
        if below is None or not below.defaults_below:
            continue
        if child is None and name not in node.properties and not below.nullable and below.default is not MISSING:
            value[name] = child = copy.deepcopy(below.default)
        if isinstance(child, dict | list):
            fill_defaults(child, below)


def drop_nulls(value: Any, node: Node) -> None:
    if isinstance(value, list):
        if node.items is not None:
            for child in value:
                if isinstance(child, dict | list):
                    drop_nulls(child, node.items)
        return
    doomed: list[str] = []
    for name, child in value.items():
        below = node.child(name)
        if below is None:
            continue
        if child is None:
            if not below.nullable and below.default is MISSING:
                doomed.append(name)
        elif isinstance(child, dict | list):
            drop_nulls(child, below)
    for name in doomed:
        del value[name]
