"""What a container does when it runs: the words for it and where they are found. Pure: no clock, no I/O.

A ``Play`` stands as JSON in the environment variable ``SANDBOX_PLAY`` of the container, where every controller
between the author and the pod passes it on untouched; or in an annotation of the pod, for all its containers.
``scenario`` writes it there, ``pods`` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from wfe_controller.kube.objects import Json, annotations_of, items, key_of, mapping, text

log = structlog.get_logger("wfe.sandbox")

ENVIRONMENT = "SANDBOX_PLAY"
ANNOTATION = "sandbox.kubernaut.ai/play"
KILLED = 137
TERMINATED = 143
INTERRUPTED = 255
"""Tekton's entrypoint, whose step was ended by the signal that it passed on."""
NOT_BEGUN = 2
"""Tekton's entrypoint, whose step had not begun when the signal came."""


class Play(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True, kw_only=True):
    """Everything is optional; nothing given: runs for a second and ends with 0. Times are seconds at speed 1."""

    seconds: float = 1.0
    exit_code: int = 0
    hang: bool = False
    """Runs until it is told to end; ``seconds`` does not count."""
    oom: bool = False
    """The kernel kills it for its memory after ``seconds``."""
    evicted: bool = False
    """The node gives up the pod after ``seconds``."""
    failures: int = 0
    """So many pods of the same owner fail first (exit code 1, or ``exit_code``), then it succeeds."""
    ignores_term: bool = False
    """Goes on after SIGTERM until the grace is over."""
    term_seconds: float = 0.1
    """How long it needs to end after SIGTERM."""
    image_missing: bool = False
    unschedulable: bool = False
    log: str = ""
    results: dict[str, str] = {}
    """Tekton results that a step writes, if it succeeds."""

    def exit(self, attempt: int) -> int:
        """The exit code in the ``attempt``-th pod of its owner, counted from 0."""
        if self.oom or self.evicted:
            return KILLED
        if self.failures:
            return (self.exit_code or 1) if attempt < self.failures else 0
        return self.exit_code


DEFAULT = Play()
FOREVER = Play(hang=True)


def encode(play: Play) -> str:
    return msgspec.json.encode(play).decode()


def decode(raw: str) -> Play:
    """Raises ValueError with the path and the fault (msgspec's own text)."""
    try:
        return msgspec.json.decode(raw, type=Play)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ValueError(str(error)) from None


def plays_of(pod: Json) -> dict[str, Play]:
    """Container name -> what it does. Without a word: for ever where pods are restarted, else a second.

    A word that cannot be read counts as none; it is logged, since the pod may be anybody's.
    """
    spec = mapping(pod.get("spec"))
    default = FOREVER if (spec.get("restartPolicy") or "Always") == "Always" else DEFAULT
    for_all = annotations_of(pod).get(ANNOTATION, "")
    found: dict[str, Play] = {}
    for container in items(spec.get("containers")):
        raw = _environment(mapping(container)) or for_all
        try:
            found[text(container["name"])] = decode(raw) if raw else default
        except ValueError as error:
            log.warning("a play cannot be read", pod=str(key_of(pod)), container=container["name"], error=str(error))
            found[text(container["name"])] = default
    return found


def _environment(container: Mapping[str, Any]) -> str:
    for entry in items(container.get("env")):
        if mapping(entry).get("name") == ENVIRONMENT:
            return text(entry.get("value"))
    return ""
