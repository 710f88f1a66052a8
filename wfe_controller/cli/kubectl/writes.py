"""Writing decisions: annotations, and nothing else, on exactly the object that was looked at.

Each write names uid and resourceVersion; when the object has moved meanwhile it is read and judged again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from wfe_controller.api.names import WORKFLOWEXECUTIONS, by, reason
from wfe_controller.cli.kubectl.session import Refusal, Session
from wfe_controller.kube.client.patches import MERGE, Patch
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.errors import Conflict, ConnectionFailed, NotFound, RequestTimeout, Unavailable
from wfe_controller.kube.objects import (
    Json,
    Resource,
    annotations_of,
    key_of,
    metadata,
    resource_version_of,
    uid_of,
)

FIELD_MANAGER = "kubectl-wfe"
TRIES = 8
BY_MAX = 256


def decision(annotation: str, value: str, who: str, why: str | None) -> dict[str, str | None]:
    """The three annotations of a decision; without a reason an old one is taken off."""
    return {annotation: value, by(annotation): who[:BY_MAX], reason(annotation): why or None}


def without(annotation: str) -> dict[str, str | None]:
    """The three annotations of a decision, taken off."""
    return {annotation: None, by(annotation): None, reason(annotation): None}


def annotation_patch(obj: Json, changes: Mapping[str, str | None], *, dry_run: bool = False) -> Patch:
    """A merge patch of annotations (None takes one off) that only fits this version of this object."""
    meta = {"uid": uid_of(obj), "resourceVersion": resource_version_of(obj), "annotations": dict(changes)}
    params = (("fieldManager", FIELD_MANAGER), *((("dryRun", "All"),) if dry_run else ()))
    return Patch(MERGE, msgspec.json.encode({"metadata": meta}), params)


async def annotate(
    session: Session,
    resource: Resource,
    obj: Json,
    changes: Mapping[str, str | None],
    judge: Callable[[Json], Refusal | None],
    *,
    dry_run: str = "none",
) -> Json:
    """Write, once ``judge`` has nothing against it; judged anew on every version that is met. Gives the new object.

    ``dry_run`` "client": nothing is sent; "server": the server checks it and keeps nothing. A write of which no answer
    came is looked up: sending it again is safe, since it only fits the version it was made for.
    """
    named, unanswered = f"{resource.kind} {key_of(obj)}", False
    look = _look(session, resource, obj)
    for _ in range(TRIES):
        refusal = judge(obj)
        if refusal is not None:
            if unanswered:  # what it refuses now may be what it did
                reason = f"no answer came to the first try, which may have been written; now: {refusal.reason}"
                raise Refusal(reason, refusal.next)
            raise refusal
        if dry_run == "client":
            return annotated(obj, changes)
        patch = annotation_patch(obj, changes, dry_run=dry_run == "server")
        try:
            return await session.api.patch(resource, key_of(obj), patch, lane=Lane.TERMINAL)
        except (Conflict, NotFound):
            pass
        except (ConnectionFailed, RequestTimeout, Unavailable):
            unanswered = True
        try:
            fresh = await session.api.get(resource, key_of(obj))
        except NotFound:
            written = "no answer came, so whether it was written is not known" if unanswered else "nothing was written"
            raise Refusal(f"{named} was deleted meanwhile: {written}", look) from None
        except (ConnectionFailed, RequestTimeout, Unavailable) as error:
            if not unanswered:
                raise
            raise Refusal(f"no answer came, so whether it was written is not known: {error}", look) from None
        if uid_of(fresh) != uid_of(obj):
            raise Refusal(f"{named} was replaced by another one of its name meanwhile", look)
        if unanswered and annotated(fresh, changes) == fresh:
            return fresh
        obj = fresh
    raise Refusal(f"{named} changes too fast to be annotated: nothing was written", look)


def annotated(obj: Json, changes: Mapping[str, str | None]) -> Json:
    """``obj`` as it is after the write."""
    notes = {**annotations_of(obj), **changes}
    kept = {key: value for key, value in notes.items() if value is not None}
    return {**obj, "metadata": {**metadata(obj), "annotations": kept}}


def _look(session: Session, resource: Resource, obj: Json) -> str:
    if resource is WORKFLOWEXECUTIONS:
        return session.commands.on("explain", key_of(obj))
    return session.commands.wfe("locks", key_of(obj).name)
