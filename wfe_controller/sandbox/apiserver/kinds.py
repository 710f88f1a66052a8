"""One served version of a resource at work: its compiled schema and rules, and the bytes of its objects.

``resources`` says what a resource is, this module makes that executable, once per ResourceInfo. Neighbours: ``verbs``
write through it, ``lists`` and ``watch`` render through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec

from wfe_controller.sandbox.apiserver.apply import FieldManager, field_manager
from wfe_controller.sandbox.apiserver.cel import Rules
from wfe_controller.sandbox.apiserver.resources import ResourceInfo, Strategy
from wfe_controller.sandbox.apiserver.schema import Schema
from wfe_controller.sandbox.apiserver.store import Store, Stored, Table, encode_body
from wfe_controller.sandbox.apiserver.watch import Lines

Json = dict[str, Any]
_EMPTY: Mapping[str, str] = {}


class Kind:
    """What a request needs of its resource."""

    def __init__(self, info: ResourceInfo, store: Store) -> None:
        self.info = info
        self._store = store
        self._managers: dict[str, FieldManager] = {}
        strategy = type(info.strategy)
        self._converts = strategy.from_storage is not Strategy.from_storage
        self._has_fields = strategy.fields is not Strategy.fields
        names = [("apiVersion", info.api_version), ("kind", info.kind)]
        self._identity = dict(names if info.custom else reversed(names))
        self._prefix = msgspec.json.encode(self._identity)[:-1] + b","
        self._paths = [
            (path.lstrip("."), tuple(path.lstrip(".").split("."))) for path in info.selectable_fields if info.custom
        ]

    @property
    def table(self) -> Table:
        return self._store.table(self.info.storage)

    @cached_property
    def schema(self) -> Schema:
        """Of a CRD without a schema: everything is kept."""
        return Schema.compile(self.info.schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True})

    @cached_property
    def rules(self) -> Rules | None:
        """None when the schema has none: evaluation is not worth a walk then."""
        if not self.info.custom or self.info.schema is None or not _mentions_rules(self.info.schema):
            return None
        return Rules.compile(self.info.schema)

    def manager(self, subresource: str = "") -> FieldManager:
        """Who keeps metadata.managedFields for writes through an endpoint."""
        manager = self._managers.get(subresource)
        if manager is None:
            manager = self._managers[subresource] = field_manager(self.info, subresource)
        return manager

    def load(self, stored: Stored) -> Json:
        """A fresh object in this version, complete with apiVersion and kind."""
        obj = {**self._identity, **stored.decode()}
        return self.info.strategy.from_storage(obj) if self._converts else obj

    def encode(self, stored: Stored) -> bytes:
        """The object in this version, as one line without its end."""
        if self._converts:
            return self._prefix + encode_body(self.load(stored))[1:]
        return self._prefix + stored.data[1:]

    @cached_property
    def lines(self) -> Lines:
        """Lines of watches that want whole objects in this version."""
        return Lines(self.encode)

    def encode_item(self, stored: Stored) -> bytes:
        """The object as a list holds it: built-in kinds without apiVersion and kind."""
        if self.info.custom or self._converts:
            return self.encode(stored) if self.info.custom else encode_body(self.load(stored))
        return stored.data

    def identify(self, obj: Json) -> Json:
        """The same object with apiVersion and kind of this version, first."""
        return {**self._identity, **{k: v for k, v in obj.items() if k not in self._identity}}

    def to_storage(self, obj: Json) -> Json:
        return self.info.strategy.to_storage(obj) if self._converts else obj

    @cached_property
    def field_names(self) -> frozenset[str]:
        """What a field selector may name."""
        return frozenset(
            {"metadata.name", "metadata.namespace", *(path.lstrip(".") for path in self.info.selectable_fields)}
        )

    def fields(self, obj: Json) -> Mapping[str, str]:
        """What field selectors may ask for; missing values read as ""."""
        if self._paths:
            found = {}
            for name, path in self._paths:
                value: Any = obj
                for step in path:
                    value = value.get(step) if isinstance(value, dict) else None
                if value is not None:
                    found[name] = _text(value)
            return found
        return self.info.strategy.fields(obj) if self._has_fields else _EMPTY


class Kinds:
    """Kinds by their ResourceInfo; a CRD that changes brings another ResourceInfo and so another Kind."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str, str], Kind] = {}

    def of(self, info: ResourceInfo) -> Kind:
        key = (info.group, info.version, info.plural)
        kind = self._known.get(key)
        if kind is None or kind.info is not info:
            kind = self._known[key] = Kind(info, self._store)
        return kind


def _mentions_rules(schema: object) -> bool:
    if isinstance(schema, dict):
        return "x-kubernetes-validations" in schema or any(_mentions_rules(value) for value in schema.values())
    return isinstance(schema, list) and any(_mentions_rules(value) for value in schema)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
