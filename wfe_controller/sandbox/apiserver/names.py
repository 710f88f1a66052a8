"""Rules for metadata: names, labels, annotations, finalizers, owners, and what an update may not change.

Texts are those of the real server. Kinds differ in what a name may be and in how strict finalizers are; both are looked
up by resource. ``verbs`` calls these for every write.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from typing import Any

from wfe_controller.sandbox.apiserver.resources import ResourceInfo
from wfe_controller.sandbox.apiserver.status import Cause, cause, quote

Json = dict[str, Any]

MAX_GENERATED_BASE = 58
"""A generated name is at most 63 characters, five of them random."""
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_TOTAL_ANNOTATIONS = 256 * 1024

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_QUALIFIED})?"
_DNS1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_LABEL_RE, _SUBDOMAIN_RE, _QUALIFIED_RE, _VALUE_RE, _DNS1035_RE = (
    re.compile(expression) for expression in (_LABEL, _SUBDOMAIN, _QUALIFIED, _VALUE, _DNS1035)
)

_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    f"an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_DNS1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    f"and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '{_DNS1035}')"
)
_MUST_CONSIST = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED}')"
)
_WITH_PREFIX = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{_VALUE}')"
)

_STANDARD_FINALIZERS = frozenset({"orphan", "foregroundDeletion", "kubernetes"})
_PATH_NAMED = frozenset({"roles", "rolebindings", "clusterroles", "clusterrolebindings"})
# Groups whose kinds are validated by the oldest code, which knows finalizers without a domain.
_STRICT_GROUPS = frozenset({"", "apps", "batch", "coordination.k8s.io", "rbac.authorization.k8s.io", "policy"})


def subdomain(text: str) -> list[str]:
    """What is wrong with an RFC 1123 subdomain."""
    found = ["must be no more than 253 characters"] if len(text) > 253 else []
    return found if _SUBDOMAIN_RE.fullmatch(text) else [*found, _SUBDOMAIN_TEXT]


def label(text: str) -> list[str]:
    """What is wrong with an RFC 1123 label."""
    found = ["must be no more than 63 characters"] if len(text) > 63 else []
    if _LABEL_RE.fullmatch(text):
        return found
    if _SUBDOMAIN_RE.fullmatch(text):
        # The real server says this to who writes dots, and the whole rule to everybody else.
        return [*found, "must not contain dots"]
    return [*found, _LABEL_TEXT]


def dns1035(text: str) -> list[str]:
    """What is wrong with an RFC 1035 label (names of services and of CRDs)."""
    found = ["must be no more than 63 characters"] if len(text) > 63 else []
    return found if _DNS1035_RE.fullmatch(text) else [*found, _DNS1035_TEXT]


def path_segment(text: str) -> list[str]:
    """What is wrong with a name that only has to fit into a URL (RBAC)."""
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in text]


def qualified_name(text: str) -> list[str]:
    """What is wrong with a label key, annotation key or finalizer."""
    prefix, separator, name = text.rpartition("/")
    found: list[str] = []
    if "/" in prefix:
        return [f"a valid label key {_MUST_CONSIST} {_WITH_PREFIX}"]
    if separator:
        if not prefix:
            found.append("prefix part must be non-empty")
        else:
            if len(prefix) > 253:
                found.append("prefix part must be no more than 253 bytes")
            if not _SUBDOMAIN_RE.fullmatch(prefix):
                found.append(f"prefix part {_SUBDOMAIN_TEXT}")
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > 63:
        found.append("name part must be no more than 63 bytes")
    if not _QUALIFIED_RE.fullmatch(name):
        found.append(f"name part {_MUST_CONSIST}")
    return found


def label_value(text: str) -> list[str]:
    """What is wrong with a label's value."""
    found = ["must be no more than 63 bytes"] if len(text.encode(errors="surrogateescape")) > 63 else []
    return found if _VALUE_RE.fullmatch(text) else [*found, _VALUE_TEXT]


def generate_name(base: str, rng: random.Random) -> str:
    """A name from ``generateName``: the base, cut to 58, and five letters."""
    return base[:MAX_GENERATED_BASE] + "".join(rng.choice(_ALPHABET) for _ in range(5))


def _name_rule(info: ResourceInfo) -> Callable[[str], list[str]]:
    if info.plural in _PATH_NAMED and info.group == "rbac.authorization.k8s.io":
        return path_segment
    return label if info.plural == "namespaces" and not info.group else subdomain


def _invalid(field: str, value: Any, why: str) -> Cause:
    return cause("Invalid", field, f"Invalid value: {_shown(value)}: {why}")


def _shown(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def validate_metadata(obj: Json, info: ResourceInfo, old: Json | None = None) -> list[Cause]:
    """The form of metadata. ``old`` given = update: the name is known to be good."""
    metadata: Mapping[str, Any] = obj.get("metadata") or {}
    found: list[Cause] = []
    rule = _name_rule(info)
    base, name = metadata.get("generateName") or "", metadata.get("name") or ""
    if base and (old is None or not info.custom):
        # What is generated gets a letter behind it, so the base may end in one that a name may not.
        probe = base[:-1] + "a" if base.endswith("-") else base
        found += [_invalid("metadata.generateName", base, why) for why in rule(probe)]
    if old is None:
        if not name:
            text = "Required value: name or generateName is required"
            found.append(cause("Required", "metadata.name", text))
        else:
            found += [_invalid("metadata.name", name, why) for why in rule(name)]
    if (metadata.get("generation") or 0) < 0:
        found.append(_invalid("metadata.generation", metadata["generation"], "must be greater than or equal to 0"))
    for key, value in (metadata.get("labels") or {}).items():
        found += [_invalid("metadata.labels", key, why) for why in qualified_name(key)]
        found += [_invalid("metadata.labels", value, why) for why in label_value(value)]
    found += _annotations(metadata.get("annotations") or {})
    found += _owners(metadata.get("ownerReferences") or [])
    found += _finalizers(metadata.get("finalizers") or [], info)
    return found


def _annotations(annotations: Mapping[str, str]) -> list[Cause]:
    found = [_invalid("metadata.annotations", key, why) for key in annotations for why in qualified_name(key.lower())]
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _TOTAL_ANNOTATIONS:
        text = f"Too long: may not be more than {_TOTAL_ANNOTATIONS} bytes"
        found.append(cause("TooLong", "metadata.annotations", text))
    return found


def _owners(owners: list[Json]) -> list[Cause]:
    found: list[Cause] = []
    controllers: list[str] = []
    for owner in owners:
        shown = _shown(_go_owner(owner))
        version = owner.get("apiVersion") or ""
        if not version or version.count("/") > 1:
            found.append(_invalid("metadata.ownerReferences.apiVersion", version, "version must not be empty"))
        for key in ("kind", "name", "uid"):
            if not owner.get(key):
                found.append(_invalid(f"metadata.ownerReferences.{key}", "", "must not be empty"))
        if (version, owner.get("kind")) == ("v1", "Event"):
            text = f"Invalid value: {shown}: /v1, Kind=Event is disallowed from being an owner"
            found.append(cause("Invalid", "metadata.ownerReferences", text))
        if owner.get("controller"):
            controllers.append(f"{owner.get('kind')}/{owner.get('name')}")
    if len(controllers) > 1:
        shown = _shown([_go_owner(owner) for owner in owners])
        why = 'Only one reference can have Controller set to true. Found "true" in references for'
        text = f"Invalid value: {shown}: {why} {controllers[0]} and {controllers[1]}"
        found.append(cause("Invalid", "metadata.ownerReferences", text))
    return found


def _go_owner(owner: Mapping[str, Any]) -> Json:
    """An owner with its fields in the order of the Go struct."""
    required = {key: owner.get(key, "") for key in ("apiVersion", "kind", "name", "uid")}
    return required | {key: owner[key] for key in ("controller", "blockOwnerDeletion") if key in owner}


def _finalizers(finalizers: list[str], info: ResourceInfo) -> list[Cause]:
    found: list[Cause] = []
    for index, finalizer in enumerate(finalizers):
        found += [_invalid("metadata.finalizers", finalizer, why) for why in qualified_name(finalizer)]
        strict = not info.custom and info.group in _STRICT_GROUPS
        if strict and "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            found.append(_invalid(f"metadata.finalizers[{index}]", finalizer, why))
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        found.append(_invalid("metadata.finalizers", finalizers, why))
    return found


_IMMUTABLE = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def validate_update(new: Json, old: Json) -> list[Cause]:
    """What an update changed and may not; also finalizers that come while the object goes."""
    now, before = new.get("metadata") or {}, old.get("metadata") or {}
    found: list[Cause] = []
    if before.get("deletionTimestamp"):
        kept = before.get("finalizers") or []
        added = sorted(set(now.get("finalizers") or []) - set(kept))
        if added:
            shown = "[]string{" + ", ".join(quote(name) for name in added) + "}"
            why = "no new finalizers can be added if the object is being deleted, found new finalizers"
            found.append(cause("Forbidden", "metadata.finalizers", f"Forbidden: {why} {shown}"))
    for key in _IMMUTABLE:
        if now.get(key) != before.get(key):
            found.append(_invalid(f"metadata.{key}", now.get(key), "field is immutable"))
    return found


def warnings(obj: Json, old: Json | None = None) -> list[str]:
    """New finalizers of custom resources that should have a domain."""
    known = ((old or {}).get("metadata") or {}).get("finalizers") or ()
    return [
        f"metadata.finalizers: {quote(finalizer)}: prefer a domain-qualified finalizer name to avoid accidental "
        "conflicts with other finalizer writers"
        for finalizer in (obj.get("metadata") or {}).get("finalizers") or []
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS and finalizer not in known
    ]
