"""One cached object: identity as attributes, everything else as one compact JSON buffer.

A dict of a 2.5 kB object costs 10-15 kB and makes the cyclic collector walk all of it; bytes cost their length.
So the store keeps bytes, and whoever needs fields pays a few microseconds for ``field`` or ``decode``.
Neighbours: ``transforms`` decides what is kept, ``packing`` compresses what is hardly read, ``store`` holds the
objects, ``watcher`` decodes lines.
Keeps I-18 (nothing handed out is shared and mutable) and I-19 (a failing transform does not lose the object).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
import structlog

from wfe_controller.kube.cache.packing import SMALLEST, Packer
from wfe_controller.kube.cache.transforms import DECODE_ERRORS, ENCODER, PARTS, Parts, Transform, keep, trim_metadata
from wfe_controller.kube.objects import Json, ObjectKey, Resource, text

log = structlog.get_logger("wfe.cache")


class MalformedObject(Exception):
    """These bytes are no object of the resource; the message says why. Skipped and counted, never fatal (I-12)."""


Scalar = str | int | float | bool | None


class CachedObject(msgspec.Struct, frozen=True, gc=False, eq=False):
    """An immutable snapshot of one object, without managedFields and last-applied.

    ``body`` is the JSON of everything but apiVersion and kind, stored plain or packed by ``packer``. Two snapshots are
    the same state exactly when uid and resourceVersion agree: ``same_as``.
    """

    resource: Resource
    key: ObjectKey
    uid: str
    resource_version: str
    generation: int
    deleting: bool
    stored: bytes
    packer: Packer | None = None
    at_hand: Mapping[tuple[str, ...], Scalar] | None = None
    """Fields of a packed object that are asked for again and again; shared by all objects in which they are equal."""

    @property
    def body(self) -> bytes:
        return self.stored if self.packer is None else self.packer.unpack(self.stored)

    def decode(self) -> Json:
        """A fresh dict with apiVersion and kind, safe to mutate."""
        return {
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            **msgspec.json.decode(self.body),
        }

    def field(self, *path: str) -> Any:
        """The decoded value at ``path`` or None when it is absent or the path runs through no object."""
        if path == ("apiVersion",):
            return self.resource.api_version
        if path == ("kind",):
            return self.resource.kind
        if self.at_hand is not None and path in self.at_hand:
            return self.at_hand[path]
        raw: bytes | msgspec.Raw = self.body
        try:
            for step in path:
                found = PARTS.decode(raw).get(step)
                if found is None:
                    return None
                raw = found
            return msgspec.json.decode(raw)
        except DECODE_ERRORS:
            return None

    @property
    def labels(self) -> Mapping[str, str]:
        return _strings(self.field("metadata", "labels"))

    @property
    def annotations(self) -> Mapping[str, str]:
        return _strings(self.field("metadata", "annotations"))

    @property
    def creation_timestamp(self) -> str:
        """RFC 3339 as the server wrote it, "" when absent."""
        return text(self.field("metadata", "creationTimestamp"))

    def same_as(self, other: CachedObject | None) -> bool:
        return other is not None and self.uid == other.uid and self.resource_version == other.resource_version


def _strings(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: item for key, item in value.items() if isinstance(item, str)}


class _Metadata(msgspec.Struct, gc=False, rename="camel"):
    name: str
    resource_version: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    deletion_timestamp: str | None = None


class _Head(msgspec.Struct, gc=False):
    metadata: _Metadata
    kind: str = ""


_HEAD = msgspec.json.Decoder(_Head)

MAX_SHARED = 256
"""Sets of values kept at hand; more would mean that a field was named that does not belong there."""

Known = Callable[[ObjectKey], CachedObject | None]
Cold = Callable[[CachedObject], bool]


def nothing_known(key: ObjectKey) -> CachedObject | None:
    return None


class ObjectDecoder:
    """JSON bytes of one object -> CachedObject. A callable.

    ``known`` looks an object up in the store: an unchanged one is returned as it is (a relist costs no second copy
    of the cache), a changed one shares its key, so that map keys and objects do not hold two copies of the name.
    ``cold`` says which objects are stored packed: those that are kept but hardly read any more. ``at_hand`` names
    fields with few values that sweeps read of every object: they are kept beside the packed body.
    """

    def __init__(
        self,
        resource: Resource,
        *,
        transform: Transform = keep,
        known: Known = nothing_known,
        cold: Cold | None = None,
        at_hand: Sequence[tuple[str, ...]] = (),
    ) -> None:
        self._resource = resource
        self._transform = transform
        self._known = known
        self._cold = cold
        self._at_hand = at_hand
        self._shared: dict[tuple[tuple[type, Scalar], ...], Mapping[tuple[str, ...], Scalar]] = {}
        self._packer: Packer | None = None
        self._buffer = bytearray()

    def __call__(self, raw: bytes | msgspec.Raw) -> CachedObject:
        """Raises MalformedObject when there is no usable identity or the kind is another one."""
        try:
            return self._object(raw, _HEAD.decode(raw))
        except DECODE_ERRORS as error:
            raise MalformedObject(str(error)) from error

    def _object(self, raw: bytes | msgspec.Raw, head: _Head) -> CachedObject:
        meta = head.metadata
        if head.kind and head.kind != self._resource.kind:
            raise MalformedObject(f"kind is {head.kind[:63]!r}, expected {self._resource.kind!r}")
        if not meta.name or not meta.resource_version:
            raise MalformedObject("metadata.name or metadata.resourceVersion is empty")
        key = ObjectKey(sys.intern(meta.namespace), meta.name)
        known = self._known(key)
        uid = meta.uid
        if known is not None:
            key = known.key
            if known.uid == uid:
                uid = known.uid
                if known.resource_version == meta.resource_version:
                    return known
        obj = CachedObject(
            resource=self._resource,
            key=key,
            uid=uid,
            resource_version=meta.resource_version,
            generation=meta.generation,
            deleting=bool(meta.deletion_timestamp),
            stored=self._body(raw, key),
        )
        return self._packed(obj) if self._is_cold(obj) else obj

    def _is_cold(self, obj: CachedObject) -> bool:
        if self._cold is None or len(obj.stored) < SMALLEST:
            return False
        try:
            return self._cold(obj)
        except Exception as error:  # noqa: BLE001 - like a broken transform: may cost memory, never the object (I-19)
            log.error("cold test failed", resource=obj.resource.group_resource, key=str(obj.key), error=repr(error))
            return False

    def _packed(self, obj: CachedObject) -> CachedObject:
        if self._packer is None:
            self._packer = Packer(obj.stored)
        at_hand = self._beside(obj)
        return msgspec.structs.replace(obj, stored=self._packer.pack(obj.stored), packer=self._packer, at_hand=at_hand)

    def _beside(self, obj: CachedObject) -> Mapping[tuple[str, ...], Scalar] | None:
        """The fields to keep unpacked; None when one of them is no scalar or takes too many values to be shared."""
        values = tuple(obj.field(*path) for path in self._at_hand)
        if not values or not all(value is None or isinstance(value, str | int | float) for value in values):
            return None
        which = tuple((type(value), value) for value in values)  # 1, 1.0 and True are equal, but not the same field
        known = self._shared.get(which)
        if known is None and len(self._shared) < MAX_SHARED:
            known = self._shared[which] = MappingProxyType(dict(zip(self._at_hand, values, strict=True)))
        return known

    def _body(self, raw: bytes | msgspec.Raw, key: ObjectKey) -> bytes:
        parts = self._parts(raw)
        if self._transform is not keep:
            try:
                parts = self._transform(parts)
            except Exception as error:  # noqa: BLE001 - a broken transform may cost memory, never the object (I-19)
                log.error(
                    "cache transform failed", resource=self._resource.group_resource, key=str(key), error=repr(error)
                )
                parts = self._parts(raw)
        # encode() returns an over-allocated buffer cut back in place; the holes behind 10,000 of them are a third of
        # the cache. A reused buffer and an exact copy leave none.
        ENCODER.encode_into(parts, self._buffer)
        body = bytes(self._buffer)
        body.decode()  # the parts were passed through unread: bad UTF-8 must show here, not at a reader
        return body

    def _parts(self, raw: bytes | msgspec.Raw) -> Parts:
        parts = PARTS.decode(raw)
        parts.pop("apiVersion", None)
        parts.pop("kind", None)
        parts["metadata"] = trim_metadata(parts["metadata"])
        return parts
