"""What handlers are told: one change of one object, after the store has it (I-15)."""

from __future__ import annotations

from dataclasses import dataclass

from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.objects import ObjectKey


@dataclass(frozen=True, slots=True)
class Added:
    """``initial``: part of the first list, or replayed to a handler that registered late."""

    obj: CachedObject
    initial: bool

    @property
    def key(self) -> ObjectKey:
        return self.obj.key


@dataclass(frozen=True, slots=True)
class Updated:
    """Same uid, another resourceVersion; or ``resync``: a local replay with old == new (I-23)."""

    old: CachedObject
    new: CachedObject
    resync: bool

    @property
    def key(self) -> ObjectKey:
        return self.new.key


@dataclass(frozen=True, slots=True)
class Deleted:
    """Gone, or no longer selected (I-17: read it once before acting on absence).

    ``final_state_known`` False is the tombstone (I-14): the deletion itself was not seen and ``last`` is the last
    state that was.
    """

    key: ObjectKey
    last: CachedObject | None
    final_state_known: bool


Change = Added | Updated | Deleted
