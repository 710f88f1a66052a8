"""Where the sandbox's pipelines come from, in the place of Tekton's bundle resolver and an OCI registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from wfe_controller.kube.objects import Json, items, mapping, text


@dataclass(frozen=True)
class Resolved:
    """The Pipeline object that was asked for."""

    pipeline: Json


@dataclass(frozen=True)
class Unresolved:
    """It stays being resolved: what Tekton 1.12 makes of a bundle that does not exist."""


@dataclass(frozen=True)
class Refused:
    """It cannot be had, and the resolver says so."""

    message: str


Answer = Resolved | Unresolved | Refused


class Resolver(Protocol):
    def resolve(self, resolver: str, params: Mapping[str, str]) -> Answer:
        """``resolver`` is the name in the pipelineRef (bundles), ``params`` its parameters."""


class Bundles:
    """A resolver of bundles from a mapping reference -> objects in it. ``fails``: reference -> what is said."""

    def __init__(self, bundles: Mapping[str, list[Json]], fails: Mapping[str, str] | None = None) -> None:
        self._bundles, self._fails = bundles, {} if fails is None else fails

    def resolve(self, resolver: str, params: Mapping[str, str]) -> Answer:
        reference = params.get("bundle", "")
        if reference in self._fails:
            return Refused(self._fails[reference])
        if resolver != "bundles":
            return Unresolved()
        for item in self._bundles.get(reference, []):
            same_kind = item["kind"].lower() == params.get("kind", "task").lower()
            if same_kind and item["metadata"]["name"] == params.get("name"):
                return Resolved(item)
        return Unresolved()


def parameters(pipeline_ref: Mapping[str, object]) -> dict[str, str]:
    return {
        text(mapping(entry).get("name")): text(mapping(entry).get("value"))
        for entry in items(pipeline_ref.get("params"))
    }
