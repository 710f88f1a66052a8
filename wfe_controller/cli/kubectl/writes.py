"""Writing decisions: annotations, and nothing else, on exactly the object that was looked at.

Each write names uid and resourceVersion; when the object has moved meanwhile it is read and judged again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from wfe_controller.api.names import by, reason
from wfe_controller.cli.kubectl.session import Refusal, Session
from wfe_controller.kube.client.patches import MERGE, Patch
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.errors import Conflict
from wfe_controller.kube.objects import Json, Resource, key_of, resource_version_of, uid_of

FIELD_MANAGER = "kubectl-wfe"
TRIES = 8
BY_MAX = 256


def decision(annotation: str, value: str, who: str, why: str | None) -> dict[str, str | None]:
    """The three annotations of a decision; without a reason an old one is taken off."""
    return {annotation: value, by(annotation): who[:BY_MAX], reason(annotation): why or None}


def without(annotation: str) -> dict[str, str | None]:
    """The three annotations of a decision, taken off."""
    return {annotation: None, by(annotation): None, reason(annotation): None}


def annotation_patch(obj: Json, changes: Mapping[str, str | None]) -> Patch:
    """A merge patch of annotations (None takes one off) that only fits this version of this object."""
    meta = {"uid": uid_of(obj), "resourceVersion": resource_version_of(obj), "annotations": dict(changes)}
    return Patch(MERGE, msgspec.json.encode({"metadata": meta}), (("fieldManager", FIELD_MANAGER),))


async def annotate(
    session: Session,
    resource: Resource,
    obj: Json,
    changes: Mapping[str, str | None],
    judge: Callable[[Json], Refusal | None],
) -> Json:
    """Write, once ``judge`` has nothing against it; judged anew on every version that is met. Gives the new object."""
    for _ in range(TRIES):
        refusal = judge(obj)
        if refusal is not None:
            raise refusal
        try:
            return await session.api.patch(resource, key_of(obj), annotation_patch(obj, changes), lane=Lane.TERMINAL)
        except Conflict:
            fresh = await session.api.get(resource, key_of(obj))
            if uid_of(fresh) != uid_of(obj):
                raise Refusal(
                    f"{resource.kind} {key_of(obj)} was replaced by another one of its name meanwhile"
                ) from None
            obj = fresh
    raise Refusal(f"{resource.kind} {key_of(obj)} changes too fast to be annotated: try again")
