"""Objects under a schema, as server-side apply sees them: which fields are there, what differs, what a merge gives.

The schema is an openAPIV3Schema dict, of a CRD or of a built-in kind; :class:`Type` reads from it only what matters
here (scalars, maps, lists; atomic or not; keys of list maps). ``managedfields`` and ``apply`` are the callers,
``fitting`` says whether a value is of its type.
Values are JSON values; MISSING stands for "not there", which null is not.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wfe_controller.sandbox.apiserver.fieldsets import FieldSet, field_element, key_element, value_element

Json = dict[str, Any]


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()


class TypedError(Exception):
    """An object does not fit the schema; ``lines`` are ``path: what``."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        text = lines[0] if len(lines) == 1 else "\n".join(["errors:", *("  " + line for line in lines)])
        super().__init__(text)


@dataclass(eq=False, slots=True)
class ListType:
    """``keys`` empty and associative: a set."""

    associative: bool
    keys: tuple[str, ...]
    element: Type


@dataclass(eq=False, slots=True)
class MapType:
    """``element`` is the type of undeclared keys; None forbids them. ``zero`` has the fields that are always there
    (in structs of the built-in kinds), though their JSON may be left out, with what they hold then; None for maps that
    are no structs.
    """

    atomic: bool
    fields: dict[str, Type] = field(default_factory=dict)
    element: Type | None = None
    zero: Mapping[str, Any] | None = None
    defaults: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Atom:
    """What a value may be; more than one of the three for values of any type. ``scalar``: string, numeric, boolean,
    untyped or "".
    """

    scalar: str = ""
    list: ListType | None = None
    map: MapType | None = None


class Type:
    """One schema node, resolved when it is first looked at (schemas refer to themselves)."""

    __slots__ = ("_atom", "_make")

    def __init__(self, make: Callable[[], Atom]) -> None:
        self._make: Callable[[], Atom] | None = make
        self._atom = Atom()

    @property
    def atom(self) -> Atom:
        if self._make is not None:
            make, self._make = self._make, None
            self._atom = make()
        return self._atom

    def for_value(self, value: Any) -> Atom:
        """The atom narrowed to what the value is; null and MISSING narrow nothing."""
        atom = self.atom
        if isinstance(value, dict):
            return _map_only(atom)
        if isinstance(value, list):
            return Atom(list=atom.list) if atom.list is not None and (atom.scalar or atom.map) else atom
        if value is None or value is MISSING or not atom.scalar:
            return atom
        return Atom(scalar=atom.scalar) if atom.list is not None or atom.map is not None else atom


def _map_only(atom: Atom) -> Atom:
    return Atom(map=atom.map) if atom.map is not None and (atom.scalar or atom.list) else atom


def _untyped_atom() -> Atom:
    return Atom("untyped", ListType(False, (), UNTYPED), MapType(True, {}, UNTYPED))


def _deduced_atom() -> Atom:
    return Atom("untyped", ListType(False, (), UNTYPED), MapType(False, {}, DEDUCED))


_STRING = Type(lambda: Atom("string"))
UNTYPED = Type(_untyped_atom)
DEDUCED = Type(_deduced_atom)
"""The type of objects without a schema: maps are merged, lists are atomic."""


class Types:
    """Compiles schemas to types; ``definitions`` resolve ``$ref`` by its last path segment.

    ``structs``: the schemas are those of Go structs (built-in kinds), where ``default: {}`` means always there.
    """

    def __init__(self, definitions: Mapping[str, Json] | None = None, *, structs: bool = False) -> None:
        self._definitions = definitions or {}
        self._structs = structs
        self._named: dict[str, Type] = {}
        self._shared: dict[int, tuple[Json, Type]] = {}

    @property
    def metadata(self) -> Type:
        """The type of every object's metadata."""
        return self._reference(_OBJECT_META) if _OBJECT_META in self._definitions else _METADATA

    def compile_object(self, schema: Json | None) -> Type:
        """The type of whole objects of a kind; its schema need not say what metadata is. None: no schema at all."""
        if schema is None:
            return DEDUCED

        def make() -> Atom:
            found = self.compile(schema).atom
            if found.map is None:
                return found
            fields = {"apiVersion": _STRING, "kind": _STRING, **found.map.fields}
            if not self._structs or "metadata" not in fields:
                # What a CRD says about metadata restricts names at most.
                fields["metadata"] = self.metadata
            # The object itself is never owned as a whole, so whether it is atomic has no meaning.
            known = MapType(False, fields, found.map.element, found.map.zero, found.map.defaults)
            return Atom(map=known)

        return Type(make)

    def compile(self, schema: Json, *, preserve: bool = False) -> Type:
        target = reference(schema)
        if target:
            name = target.rpartition("/")[2]
            override = str(schema.get("x-kubernetes-map-type", ""))
            named = self._reference(name)
            return self._overridden(named, override) if override else named
        if preserve:
            return Type(lambda: self._atom(schema, True))
        # Resolved schemas share the dict of a definition wherever it is used: compile it once.
        known = self._shared.get(id(schema))
        if known is None:
            known = self._shared[id(schema)] = (schema, Type(lambda: self._atom(schema, False)))
        return known[1]

    def _reference(self, name: str) -> Type:
        if name not in self._named:
            self._named[name] = Type(lambda: self._named_atom(name))
        return self._named[name]

    def _named_atom(self, name: str) -> Atom:
        return self._atom({_DEFINITION: name, **self._definitions.get(name, {})}, False)

    @staticmethod
    def _overridden(named: Type, relationship: str) -> Type:
        def make() -> Atom:
            atom = named.atom
            if atom.map is None:
                return atom
            source = atom.map
            changed = MapType(relationship == "atomic", source.fields, source.element, source.zero, source.defaults)
            return Atom(atom.scalar, atom.list, changed)

        return Type(make)

    def _atom(self, schema: Json, preserve: bool) -> Atom:
        definition = schema.get(_DEFINITION, "")
        if definition.endswith("api.resource.Quantity"):
            return Atom("untyped")
        if definition.endswith("pkg.runtime.RawExtension"):
            return _untyped_atom()
        preserve = preserve or schema.get("x-kubernetes-preserve-unknown-fields") is True
        kind = schema.get("type", "")
        if kind == "object":
            return Atom(map=self._map(schema, preserve))
        if kind == "array":
            return Atom(list=self._list(schema, preserve))
        if kind in ("integer", "number"):
            return Atom("numeric")
        if kind == "boolean":
            return Atom("boolean")
        if kind == "string":
            return Atom("string" if schema.get("format", "") in ("", "byte") else "untyped")
        return Atom("untyped", self._list(schema, preserve), self._map(schema, preserve))

    def _map(self, schema: Json, preserve: bool) -> MapType:
        properties: Json = schema.get("properties") or {}
        additional = schema.get("additionalProperties")
        element: Type | None = None
        if additional is None:
            element = DEDUCED if preserve or not properties else None
        elif isinstance(additional, dict):
            element = self.compile(additional, preserve=preserve) if additional else DEDUCED
        elif additional:
            element = DEDUCED
        fields = {name: self.compile(member, preserve=preserve) for name, member in properties.items()}
        if schema.get("x-kubernetes-embedded-resource"):
            fields = {"apiVersion": _STRING, "kind": _STRING, "metadata": self.metadata, **fields}
        return MapType(
            schema.get("x-kubernetes-map-type") == "atomic",
            fields,
            element,
            _zero_fields(schema, properties) if self._structs and properties else None,
            {name: member["default"] for name, member in properties.items() if "default" in member},
        )

    def _list(self, schema: Json, preserve: bool) -> ListType:
        kind = schema.get("x-kubernetes-list-type")
        keys: tuple[str, ...] = ()
        associative = False
        if kind is not None:
            associative = kind in ("set", "map")
            keys = tuple(schema.get("x-kubernetes-list-map-keys") or ()) if kind == "map" else ()
        elif "merge" in str(schema.get("x-kubernetes-patch-strategy", "")).split(","):
            associative = True
            merge_key = schema.get("x-kubernetes-patch-merge-key")
            keys = (merge_key,) if isinstance(merge_key, str) else ()
        items = schema.get("items")
        element = self.compile(items, preserve=preserve) if isinstance(items, dict) and items else UNTYPED
        return ListType(associative, keys, element)


def _zero_fields(schema: Json, properties: Json) -> Json:
    zero: Json = dict.fromkeys(schema.get("required") or ())
    for name, member in properties.items():
        if "default" in member and not member["default"]:
            zero[name] = member["default"]
    return zero


def reference(schema: Json) -> str:
    """Where a schema points to by ``$ref``, alone or as the only part of allOf; "" when it stands for itself."""
    target = schema.get("$ref")
    if isinstance(target, str):
        return target
    several = schema.get("allOf")
    if isinstance(several, list) and len(several) == 1 and isinstance(several[0], dict):
        inner = several[0].get("$ref")
        return inner if isinstance(inner, str) else ""
    return ""


_DEFINITION = "x-definition"
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_TEXT: Json = {"type": "string"}
_TIME: Json = {"type": "string", "format": "date-time"}
_FLAG: Json = {"type": "boolean"}
_NUMBER: Json = {"type": "integer"}
_TEXTS: Json = {"type": "object", "additionalProperties": {"type": "string"}}
_OWNER: Json = {
    "type": "object",
    "x-kubernetes-map-type": "atomic",
    "properties": {
        **dict.fromkeys(("apiVersion", "kind", "name", "uid"), _TEXT),
        **dict.fromkeys(("controller", "blockOwnerDeletion"), _FLAG),
    },
}
METADATA_SCHEMA: Json = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion"), _TEXT),
        **dict.fromkeys(("creationTimestamp", "deletionTimestamp"), _TIME),
        **dict.fromkeys(("generation", "deletionGracePeriodSeconds"), _NUMBER),
        **dict.fromkeys(("labels", "annotations"), _TEXTS),
        "finalizers": {"type": "array", "items": _TEXT, "x-kubernetes-list-type": "set"},
        "ownerReferences": {
            "type": "array",
            "items": _OWNER,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"],
        },
        "managedFields": {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "atomic"},
    },
}
"""ObjectMeta, where no definitions bring it."""
_METADATA = Types().compile(METADATA_SCHEMA)


# -- list items --------------------


def item_element(kind: ListType, item: Any) -> str:
    """The path element of an item of an associative list; raises ValueError when it has none."""
    if not kind.keys:
        if isinstance(item, dict):
            raise ValueError("associative list without keys has an element that's a map type")
        if isinstance(item, list):
            raise ValueError("not supported: associative list with lists as elements")
        if item is None:
            raise ValueError("associative list without keys has an element that's an explicit null")
        return value_element(item)
    if item is None:
        raise ValueError("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise ValueError("associative list with keys may not have non-map elements")
    keys: Json = {}
    element = kind.element.atom.map
    for name in kind.keys:
        if name in item:
            keys[name] = item[name]
        elif element is not None and element.defaults.get(name) is not None:
            keys[name] = element.defaults[name]
    if not keys:
        named = "[" + " ".join(json.dumps(name) for name in kind.keys) + "]"
        raise ValueError(
            f"associative list with keys has an element that omits all key fields {named} "
            "(and doesn't have default values for any key fields)"
        )
    return key_element(keys)


# -- which fields are there? --------------------


def field_set(value: Any, kind: Type) -> FieldSet:
    """The fields that an applied configuration sets."""
    made = FieldSet()
    _collect(value, kind, made, "")
    return made


def _collect(value: Any, kind: Type, parent: FieldSet, element: str) -> None:
    # ``element`` is the value's own place in ``parent``; "" at the root, which is never tracked.
    atom = kind.for_value(value)
    if atom.map is not None and not (atom.map.atomic or value is None):
        node = _node(parent, element)
        for name, item in value.items():
            inner = atom.map.fields.get(name, atom.map.element)
            place = field_element(name)
            if inner is not None:
                _collect(item, inner, node, place)
            if item is None or item == {} or name not in atom.map.fields:
                node.members.add(place)
        _attach(parent, element, node)
    elif atom.map is None and not atom.scalar and atom.list is not None and atom.list.associative:
        if isinstance(value, list):
            node = _node(parent, element)
            _collect_items(value, atom.list, node)
            _attach(parent, element, node)
    elif (atom.map is None or atom.map.atomic) and element:
        parent.members.add(element)


def _collect_items(items: list[Any], kind: ListType, node: FieldSet) -> None:
    elements = [item_element(kind, item) for item in items]
    times = Counter(elements)
    for element, item in zip(elements, items, strict=True):
        if times[element] == 1:
            _collect(item, kind.element, node, element)
        node.members.add(element)


def _node(parent: FieldSet, element: str) -> FieldSet:
    return parent if not element else parent.children.get(element) or FieldSet()


def _attach(parent: FieldSet, element: str, node: FieldSet) -> None:
    if element and (node.members or node.children):
        parent.children[element] = node
