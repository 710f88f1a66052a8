"""CustomResourceDefinitions: what the API server fills in and refuses, whose names are accepted, what is served.

``builtin`` gives the kind this strategy. After each write the server asks :func:`settle` for the next status, until
there is none, and serves :func:`resources` once the definition is Established.
"""

from __future__ import annotations

import json
import re
from typing import Any

from wfe_controller.sandbox.apiserver import cel
from wfe_controller.sandbox.apiserver.crdschemas import check_schema, places, unknown_formats
from wfe_controller.sandbox.apiserver.crdstatus import is_established, settle
from wfe_controller.sandbox.apiserver.names import dns1035, subdomain
from wfe_controller.sandbox.apiserver.resources import ResourceInfo, ScalePaths, Strategy
from wfe_controller.sandbox.apiserver.status import Cause, cause, quote

__all__ = ["APPROVAL", "GROUP", "CrdStrategy", "is_established", "resources", "settle", "validate"]

Json = dict[str, Any]

GROUP = "apiextensions.k8s.io"
APPROVAL = "api-approved.kubernetes.io"
_SIMPLE_PATH = re.compile(r"(\.[A-Za-z_]\w*|\[['\"][^'\"]*['\"]\]|\[\d+\]|\[\?\(.*\)\]|\[\*\]|\.\.|\['[^\]]*\])+")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_PROTECTED = (".k8s.io", ".kubernetes.io")


class CrdStrategy(Strategy):
    """The kind CustomResourceDefinition."""

    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        names = spec.setdefault("names", {})
        kind = str(names.get("kind") or "")
        if kind:
            names.setdefault("singular", kind.lower())
            names.setdefault("listKind", f"{kind}List")
        spec.setdefault("conversion", {}).setdefault("strategy", "None")
        status = obj.setdefault("status", {})
        status.setdefault("conditions", None)
        status.setdefault("acceptedNames", {"plural": "", "kind": ""})
        status.setdefault("storedVersions", None)

    def prepare_create(self, obj: Json) -> None:
        stored = [version["name"] for version in _versions(obj) if version.get("storage")]
        accepted = {"plural": "", "kind": ""}
        obj["status"] = {"conditions": None, "acceptedNames": accepted, "storedVersions": stored[:1] or None}

    def prepare_update(self, obj: Json, old: Json) -> None:
        stored = list((obj.get("status") or {}).get("storedVersions") or [])
        new = [version["name"] for version in _versions(obj) if version.get("storage")]
        if new and new[0] not in stored:
            obj["status"] = {**obj["status"], "storedVersions": [*stored, new[0]]}

    def validate_create(self, obj: Json) -> list[Cause]:
        return validate(obj)

    def validate_update(self, obj: Json, old: Json) -> list[Cause]:
        return validate(obj) + _immutable(obj, old)

    def warnings(self, obj: Json, old: Json | None) -> list[str]:
        if old is not None:
            return []
        return [text for version in _versions(obj) for text in unknown_formats(_schema(version) or {})]


def _versions(crd: Json) -> list[Json]:
    return list((crd.get("spec") or {}).get("versions") or [])


def _schema(version: Json) -> Json | None:
    found = (version.get("schema") or {}).get("openAPIV3Schema")
    return found if isinstance(found, dict) else None


def _required(field: str, why: str = "") -> Cause:
    return cause("Required", field, f"Required value: {why}" if why else "Required value")


def _invalid(field: str, value: Any, why: str) -> Cause:
    shown = value if isinstance(value, _Go) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return cause("Invalid", field, f"Invalid value: {shown}: {why}")


class _Go(str):
    """A value already written as Go's JSON."""


def _go_versions(versions: list[Json]) -> _Go:
    fields = ("Name", "Served", "Storage", "Deprecated", "DeprecationWarning")
    parts = []
    for version in versions:
        values = [version.get(name[0].lower() + name[1:]) for name in fields]
        shown = dict(zip(fields, values, strict=True))
        shown |= {"Name": version.get("name") or "", "Deprecated": bool(version.get("deprecated"))}
        shown |= {"Served": bool(version.get("served")), "Storage": bool(version.get("storage"))}
        shown |= dict.fromkeys(("Schema", "Subresources", "AdditionalPrinterColumns", "SelectableFields"))
        parts.append(json.dumps(shown, separators=(",", ":")))
    return _Go("[" + ",".join(parts) + "]")


def validate(crd: Json) -> list[Cause]:
    """Everything but immutability."""
    spec, metadata = crd["spec"], crd["metadata"]
    names = spec.get("names") or {}
    group, plural = spec.get("group") or "", names.get("plural") or ""
    found: list[Cause] = []
    name = metadata.get("name") or ""
    if name != f"{plural}.{group}":
        found.append(_invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    if not group:
        found.append(_required("spec.group"))
    else:
        found += [_invalid("spec.group", group, why) for why in subdomain(group)]
        if "." not in group:
            found.append(_invalid("spec.group", group, "should be a domain with at least one dot"))
    found += _scope(spec)
    found += _version_list(crd)
    found += _names(names)
    if spec.get("preserveUnknownFields"):
        why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        found.append(_invalid("spec.preserveUnknownFields", True, why))
    found += _approval(crd)
    found += _conversion(spec)
    return found + _stored(crd)


def _scope(spec: Json) -> list[Cause]:
    scope = spec.get("scope") or ""
    if not scope:
        return [_required("spec.scope")]
    if scope in ("Cluster", "Namespaced"):
        return []
    text = f'Unsupported value: {quote(scope)}: supported values: "Cluster", "Namespaced"'
    return [cause("NotSupported", "spec.scope", text)]


def _names(names: Json) -> list[Cause]:
    found: list[Cause] = []
    for key in ("plural", "singular", "kind", "listKind"):
        value, field = names.get(key) or "", f"spec.names.{key}"
        if not value:
            found.append(_required(field))
        elif key in ("plural", "singular"):
            found += [_invalid(field, value, why) for why in dns1035(value)]
        else:
            prefix = "may have mixed case, but should otherwise match: "
            found += [_invalid(field, value, prefix + why) for why in dns1035(value.lower())]
    for index, short in enumerate(names.get("shortNames") or []):
        found += [_invalid(f"spec.names.shortNames[{index}]", short, why) for why in dns1035(short)]
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        found.append(_invalid("spec.names.listKind", names["listKind"], "kind and listKind may not be the same"))
    return found


def _approval(crd: Json) -> list[Cause]:
    group = crd["spec"].get("group") or ""
    if not group.endswith(_PROTECTED) and group not in ("k8s.io", "kubernetes.io"):
        return []
    if (crd["metadata"].get("annotations") or {}).get(APPROVAL):
        return []
    why = f'protected groups must have approval annotation "{APPROVAL}", see '
    why += "https://github.com/kubernetes/enhancements/pull/1111"
    return [_required(f"metadata.annotations[{APPROVAL}]", why)]


def _conversion(spec: Json) -> list[Cause]:
    strategy = str((spec.get("conversion") or {}).get("strategy") or "")
    webhook = (spec.get("conversion") or {}).get("webhook") or {}
    if strategy == "Webhook" and not webhook.get("clientConfig"):
        why = "required when strategy is set to Webhook"
        found = [_required("spec.conversion.webhookClientConfig", why)]
        versions = webhook.get("conversionReviewVersions")
        return found if versions else [*found, _required("spec.conversion.conversionReviewVersions")]
    if strategy == "Webhook":
        text = "Forbidden: this server does not call conversion webhooks"
        return [cause("Forbidden", "spec.conversion.strategy", text)]
    if strategy == "None":
        return []
    text = f'Unsupported value: {quote(strategy)}: supported values: "None", "Webhook"'
    return [cause("NotSupported", "spec.conversion.strategy", text)]


def _version_list(crd: Json) -> list[Cause]:
    versions = _versions(crd)
    found: list[Cause] = []
    same = all(version.get("schema") == versions[0].get("schema") for version in versions)
    checked_shared = False
    for index, version in enumerate(versions):
        where = f"spec.versions[{index}]"
        found += [_invalid(f"{where}.name", version.get("name"), why) for why in dns1035(version.get("name") or "")]
        if index == 0:
            # The real server keeps the first version's name in an old field as well.
            found += [_invalid("spec.version", version.get("name"), why) for why in dns1035(version.get("name") or "")]
        schema = _schema(version)
        if schema is None:
            found.append(_required(f"{where}.schema.openAPIV3Schema"))
            continue
        if same and checked_shared:
            continue
        checked_shared = True
        path = "spec.validation.openAPIV3Schema" if same else f"{where}.schema.openAPIV3Schema"
        found += _one_schema(schema, path)
        alone = "spec" if same else where
        found += _columns(version, alone) + _selectable(version, schema, alone) + _scale(version, alone)
    unique = len({version.get("name") for version in versions}) == len(versions)
    if not unique:
        found.append(_invalid("spec.versions", _go_versions(versions), "must contain unique version names"))
    if sum(1 for version in versions if version.get("storage")) != 1:
        why = "must have exactly one version marked as storage version"
        shown = _go_versions(versions) if "versions" in crd["spec"] else None
        found.append(_invalid("spec.versions", shown, why))
    return found


def _one_schema(schema: Json, path: str) -> list[Cause]:
    found = check_schema(schema, path)
    if found:
        return found
    found = [one for place, where in places(schema, path) if "default" in place for one in _default_rules(place, where)]
    if found:
        return found
    try:
        cel.Rules.compile(schema, path)
    except cel.RuleError as error:
        return error.causes
    return []


def _default_rules(schema: Json, path: str) -> list[Cause]:
    """Defaults are held against the rules of their place, which is where the real server first meets a broken rule."""
    try:
        failed = cel.Rules.compile(schema, path).evaluate(schema["default"])
    except cel.RuleError as error:
        kind = quote(str(schema.get("type") or ""))
        return [
            cause("Invalid", f"{path}.default", f"Invalid value: {kind}: rule compile error: {one.message}")
            for one in _without_rules(error.causes)
        ]
    return [Cause(one.reason, one.message, f"{path}.default{one.field}") for one in failed]


def _without_rules(causes: list[Cause]) -> list[Cause]:
    """The same without the rule that stands before each problem."""
    return [Cause(one.reason, re.sub(r"^Invalid value: \{.*?\}: ", "", one.message), one.field) for one in causes]


def _columns(version: Json, where: str) -> list[Cause]:
    found: list[Cause] = []
    for index, column in enumerate(version.get("additionalPrinterColumns") or []):
        path = f"{where}.additionalPrinterColumns[{index}]"
        if not column.get("name"):
            found.append(_required(f"{path}.name"))
        kind = column.get("type") or ""
        if not kind:
            found.append(_required(f"{path}.type", f"must be one of {','.join(_COLUMN_TYPES)}"))
        elif kind not in _COLUMN_TYPES:
            found.append(_invalid(f"{path}.type", kind, f"must be one of {','.join(_COLUMN_TYPES)}"))
        json_path = column.get("jsonPath") or ""
        if not json_path:
            found.append(_required(f"{path}.JSONPath"))
        elif not _SIMPLE_PATH.fullmatch(json_path):
            found.append(_invalid(f"{path}.JSONPath", json_path, "must be a simple json path starting with ."))
    return found


def _selectable(version: Json, schema: Json, where: str) -> list[Cause]:
    found: list[Cause] = []
    for index, entry in enumerate(version.get("selectableFields") or []):
        path = entry.get("jsonPath") or ""
        field = f"{where}.selectableFields[{index}].jsonPath"
        here: Json | None = schema
        for step in path.lstrip(".").split("."):
            here = (here.get("properties") or {}).get(step) if here else None
        if here is None:
            found.append(_invalid(field, path, "is an invalid path: does not refer to a valid field"))
        elif here.get("type") not in ("string", "boolean", "integer"):
            why = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats "
            )
            found.append(_invalid(field, path, f"{why}are allowed."))
    return found


def _scale(version: Json, where: str) -> list[Cause]:
    scale = (version.get("subresources") or {}).get("scale")
    if scale is None:
        return []
    names = ("specReplicasPath", "statusReplicasPath")
    return [_required(f"{where}.subresources.scale.{name}") for name in names if not scale.get(name)]


def _stored(crd: Json) -> list[Cause]:
    stored = (crd.get("status") or {}).get("storedVersions")
    names = [version.get("name") for version in _versions(crd)]
    storage = [version.get("name") for version in _versions(crd) if version.get("storage")]
    if not stored:
        return [_invalid("status.storedVersions", stored, "must have at least one stored version")]
    found: list[Cause] = []
    for index, name in enumerate(stored):
        if name not in names:
            why = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {name} and removes "
                f"{name} from status.storedVersions"
            )
            found.append(_invalid(f"status.storedVersions[{index}]", name, why))
    missing = [name for name in storage if name not in stored]
    if missing:
        found.append(_invalid("status.storedVersions", stored, f"must have the storage version {missing[-1]}"))
    return found


def _immutable(crd: Json, old: Json) -> list[Cause]:
    """Group, scope, plural and kind never change once the definition was Established."""
    spec, before = crd["spec"], old["spec"]
    pairs = [("spec.group", spec.get("group"), before.get("group"))]
    if is_established(old):
        pairs.append(("spec.scope", spec.get("scope"), before.get("scope")))
        names, names_before = spec.get("names") or {}, before.get("names") or {}
        pairs += [(f"spec.names.{key}", names.get(key), names_before.get(key)) for key in ("kind", "plural")]
    return [_invalid(field, new, "field is immutable") for field, new, was in pairs if new != was]


# -- what is served --------------------


def resources(crd: Json) -> list[ResourceInfo]:
    """One ResourceInfo for each served version, with the accepted names."""
    spec = crd["spec"]
    names = {**spec["names"], **((crd.get("status") or {}).get("acceptedNames") or {})}
    storage = next((version["name"] for version in spec["versions"] if version.get("storage")), "")
    return [_info(crd, version, names, storage) for version in spec["versions"] if version.get("served")]


def _info(crd: Json, version: Json, names: Json, storage: str) -> ResourceInfo:
    spec = crd["spec"]
    schema = _schema(version)
    subresources = version.get("subresources") or {}
    scale = subresources.get("scale")
    warning = ""
    if version.get("deprecated"):
        written = version.get("deprecationWarning")
        warning = written or f"{spec['group']}/{version['name']} {names['kind']} is deprecated"
    return ResourceInfo(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        kind=names["kind"],
        namespaced=spec["scope"] == "Namespaced",
        singular=names.get("singular") or "",
        list_kind=names.get("listKind") or "",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=frozenset(name for name in ("status", "scale") if subresources.get(name) is not None),
        schema=schema,
        columns=tuple(version.get("additionalPrinterColumns") or ()),
        selectable_fields=tuple(one["jsonPath"] for one in version.get("selectableFields") or ()),
        custom=True,
        preserve=bool((schema or {}).get("x-kubernetes-preserve-unknown-fields")),
        generation=True,
        scale=_scale_paths(scale),
        storage=f"{names['plural']}.{spec['group']}",
        storage_version=storage,
        deprecated=warning,
    )


def _scale_paths(scale: Json | None) -> ScalePaths | None:
    if scale is None:
        return None
    selector = scale.get("labelSelectorPath") or ""
    return ScalePaths(scale["specReplicasPath"], scale["statusReplicasPath"], selector)
