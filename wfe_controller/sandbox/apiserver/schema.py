"""Schemas of resources: prune, default, validate.

One Schema serves one version of one resource. Custom resources are structural: unknown fields are pruned, nulls of
fields that are not nullable are dropped, defaults are filled in, values validated. Built-in kinds are Go structs
(``gotypes``): decoding does all of that but the checks, which are each kind's own.
"""

from __future__ import annotations

from typing import Any

from wfe_controller.sandbox.apiserver import gotypes, validation
from wfe_controller.sandbox.apiserver.status import Cause
from wfe_controller.sandbox.apiserver.structural import Node, drop_nulls, fill_defaults, object_meta, prune

Json = dict[str, Any]


class Schema:
    """A compiled ``openAPIV3Schema``."""

    def __init__(self, root: Node | None, go: gotypes.GoType | None) -> None:
        self._root = root
        self._go = go

    @classmethod
    def compile(cls, openapi: Json | None, *, builtin: bool = False) -> Schema:
        """``builtin``: the schema is one of ``definitions``. None: objects are taken as they are."""
        if builtin or (openapi is not None and gotypes.DEFINITION in openapi):
            return cls(None, gotypes.compiled(openapi) if openapi is not None else None)
        return cls(Node.compile(openapi) if openapi is not None else None, None)

    @property
    def root(self) -> Node | None:
        """The structural form; None for built-in kinds."""
        return self._root

    def prune(self, obj: Json) -> list[str]:
        """Take away what the schema does not know, and bring metadata (a built-in kind: all) into its one form.

        Returns ``unknown field "spec.a"`` texts in the real order; raises gotypes.Mismatch.
        """
        if self._go is not None:
            decoder = gotypes.Decoder()
            decoder.run(obj, self._go)
            if isinstance(obj.get("metadata"), dict):
                obj["metadata"] = gotypes.drop_zeros(obj["metadata"])
            return [f'unknown field "{path}"' for path in decoder.unknown]
        unknown: list[str] = []
        if obj.get("metadata") is None:
            obj["metadata"] = {}
        obj["metadata"], unknown = gotypes.decode_metadata(obj["metadata"], object_meta())
        if self._root is not None:
            found: list[str] = []
            prune(obj, self._root, "", found, root=True)
            unknown += sorted(found)
        return [f'unknown field "{path}"' for path in unknown]

    def drop_nulls(self, obj: Json) -> None:
        """Nulls of fields that are neither nullable nor have a default go."""
        if self._root is not None:
            drop_nulls(obj, self._root)

    def default(self, obj: Json, *, keep_nulls: bool = False) -> None:
        """Fill in defaults, then drop nulls; in place. ``keep_nulls`` for what was applied: there they are refused."""
        if self._root is None:
            return
        if self._root.defaults_below:
            fill_defaults(obj, self._root, root=True)
        if not keep_nulls:
            drop_nulls(obj, self._root)

    def validate(self, obj: Json, old: Json | None = None) -> list[Cause]:
        """Causes in the order of the object's fields; metadata is not looked at.

        With ``old``, what an unchanged part breaks is forgiven, as a real server does it (ratcheting).
        """
        if self._root is None:
            return []
        return validation.validate(self._root, obj, old)

    def validate_status(self, obj: Json, old: Json) -> list[Cause]:
        """The same for a write to /status, where a real server looks at the status only."""
        return [] if self._root is None else validation.validate_status(self._root, obj, old)
