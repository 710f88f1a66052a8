"""What of an object is kept: pure functions over its raw top-level parts, run before the store sees it (I-19).

Every object loses ``metadata.managedFields`` and the ``kubectl.kubernetes.io/last-applied-configuration`` annotation:
nothing reads them and together they are a third of a typical object. Further fields go by ``drop``; whoever drops a
field says so where the cache is read. Neighbours: ``cached`` runs the transform while decoding.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

Parts = dict[str, msgspec.Raw]
Transform = Callable[[Parts], Parts]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

PARTS = msgspec.json.Decoder(dict[str, msgspec.Raw])
ENCODER = msgspec.json.Encoder()
# What decoding foreign bytes can raise: bad JSON or types, bad UTF-8, absurd nesting.
DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_LAST_APPLIED_BYTES = LAST_APPLIED.encode()


def keep(parts: Parts) -> Parts:
    """The transform that drops nothing further."""
    return parts


def trim_metadata(raw: msgspec.Raw) -> msgspec.Raw:
    """``metadata`` without managedFields and last-applied; the bytes are copied out of the page."""
    meta = PARTS.decode(raw)
    meta.pop("managedFields", None)
    annotations = meta.get("annotations")
    if annotations is not None and _LAST_APPLIED_BYTES in bytes(annotations):
        kept = PARTS.decode(annotations)
        kept.pop(LAST_APPLIED, None)
        if kept:
            meta["annotations"] = msgspec.Raw(ENCODER.encode(kept))
        else:
            del meta["annotations"]
    return msgspec.Raw(ENCODER.encode(meta))


def drop(*paths: tuple[str, ...]) -> Transform:
    """A transform that removes these fields, e.g. ``drop(("status", "provenance"), ("spec", "pipelineSpec"))``.

    A path that does not exist, or runs through something that is not an object, changes nothing.
    """
    wanted = [path for path in paths if path]

    def transform(parts: Parts) -> Parts:
        for path in wanted:
            _remove(parts, path)
        return parts

    return transform


def _remove(parts: Parts, path: tuple[str, ...]) -> None:
    head, rest = path[0], path[1:]
    raw = parts.get(head)
    if raw is None:
        return
    if not rest:
        del parts[head]
        return
    if not bytes(raw).lstrip().startswith(b"{"):
        return
    inner = PARTS.decode(raw)
    _remove(inner, rest)
    parts[head] = msgspec.Raw(ENCODER.encode(inner))
