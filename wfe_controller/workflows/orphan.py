"""What a run whose WorkflowExecution does not exist says about itself. Pure.

Neighbour: lockkeeper acts on it. Labels and annotations may have been changed by anybody, so nothing here is believed
further than it can do no harm: the label's UID decides (it is what informers and LISTs select by), a UID in either
place keeps a run from being an orphan as long as its owner lives, names that no object can have are "unknown", and a
target counts only when it is canonical and its hash is the name of the lock it was found under.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from wfe_controller.api import names
from wfe_controller.api.targets import TargetError, parse_target
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.objects import ObjectKey, annotations_of, labels_of, metadata, status, text
from wfe_controller.locking.decision import Claim

UNKNOWN = "unknown"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_WORKFLOW_ID_MAX = 256


def owner(run: Mapping[str, Any]) -> str:
    """The UID whose run this is, "" when it is nobody's."""
    return text(labels_of(run).get(names.OWNER_UID))


def owners(run: Mapping[str, Any]) -> frozenset[str]:
    """Every UID that may be the owner's: the label's and the annotation's, which differ only when somebody meddled."""
    return frozenset({owner(run), text(annotations_of(run).get(names.OWNER_UID))} - {""})


def owner_key(run: Mapping[str, Any]) -> ObjectKey | None:
    """Where the owner was, None when that is no name an object can have."""
    where = annotations_of(run)
    namespace, name = text(where.get(names.OWNER_NAMESPACE)), text(where.get(names.OWNER_NAME))
    if _LABEL.fullmatch(namespace) and _SUBDOMAIN.fullmatch(name):
        return ObjectKey(namespace, name)
    return None


def workflow_id(run: Mapping[str, Any]) -> str:
    """The workflow it ran; "unknown" when nothing says."""
    return text(annotations_of(run).get(names.WORKFLOW_ID))[:_WORKFLOW_ID_MAX] or UNKNOWN


def claim(run: Mapping[str, Any]) -> Claim:
    """The hold in the vanished owner's name, in fields that a TargetLock can store and read again."""
    key = owner_key(run) or ObjectKey(UNKNOWN, UNKNOWN)
    return Claim(owner(run), key.name, key.namespace, workflow_id(run), "tekton")


def target(run: Mapping[str, Any], lock: str) -> str:
    """The canonical target when the lock of that name is its lock, else ""."""
    said = text(annotations_of(run).get(names.TARGET_RESOURCE))
    try:
        canonical = parse_target(said).canonical
    except TargetError:
        return ""
    return said if canonical == said and names.lock_name(said) == lock else ""


def ended_at(run: Mapping[str, Any], now: datetime) -> datetime:
    """When a finished run ended; one that does not say has been over since it was made."""
    for said in (status(run).get("completionTime"), metadata(run).get("creationTimestamp")):
        instant = parse_rfc3339(said)
        if instant is not None:
            return instant
    return now
