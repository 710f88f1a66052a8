"""The committed data of the built-in kinds (``python -m hack.builtin_schemas``), with references resolved.

A resolved schema shares the dict of each definition, so one definition is one object wherever it is used; only the
schema of CustomResourceDefinitions contains itself.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from wfe_controller.sandbox.apiserver.gotypes import DEFINITION

Json = dict[str, Any]

_PREFIX = "#/components/schemas/"
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


@cache
def data() -> Json:
    """``version`` of the server it came from, ``resources`` as discovery lists them, ``definitions`` with ``$ref``."""
    text = (
        resources.files("wfe_controller.sandbox.apiserver.builtin").joinpath("kinds.json").read_text(encoding="utf-8")
    )
    loaded: Json = json.loads(text)
    return loaded


def definitions() -> dict[str, Json]:
    """Every definition by its component name, references as they are. Not to be changed."""
    found: dict[str, Json] = data()["definitions"]
    return found


@cache
def _resolved() -> dict[str, Json]:
    targets: dict[str, Json] = {name: {} for name in definitions()}
    # A reference with something beside it (a default) is a copy of the target, made when all targets are complete.
    copies: list[tuple[Json, str, Json]] = []

    def resolve(schema: Any) -> Any:
        if isinstance(schema, list):
            return [resolve(item) for item in schema]
        if not isinstance(schema, dict):
            return schema
        reference = schema.get("$ref")
        if isinstance(reference, str):
            name = reference.removeprefix(_PREFIX)
            if len(schema) == 1:
                return targets[name]
            copy: Json = {}
            copies.append((copy, name, {key: value for key, value in schema.items() if key != "$ref"}))
            return copy
        return {key: resolve(value) for key, value in schema.items()}

    for name, schema in definitions().items():
        targets[name].update(resolve(schema))
        targets[name][DEFINITION] = name
    for copy, name, beside in copies:
        copy.update(targets[name])
        copy.update(beside)
    return targets


def schema(name: str) -> Json:
    """One definition with its references resolved. Shared: not to be changed."""
    return _resolved()[name]
