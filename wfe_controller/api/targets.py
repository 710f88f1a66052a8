"""What a WorkflowExecution acts on: parsing ``targetResource`` and its canonical form.

The canonical form is what is locked, hashed, compared and indexed, so that no spelling gives a second lock on the same
object (T12, TH33): kind in lower case, API group dropped, plurals and short names of built-in kinds mapped to the
singular. Dropping the group may make two unlike kinds collide; that only locks too much, never too little.
The plural of a custom kind cannot be known without discovery: it is taken as it is written (docs: use the kind).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

MAX_LENGTH = 512
_SHOWN = 64

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")
_GROUP = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_VERSION_PREFIX = re.compile(r"v[0-9]+((alpha|beta)[0-9]+)?(\.|$)")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_FREE_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.:]*[A-Za-z0-9])?")

PATTERN = (
    r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?"  # namespace
    r"[A-Za-z][A-Za-z0-9]{0,62}(\.[-a-z0-9.]*[a-z0-9])?/"  # kind[.group]
    r"[A-Za-z0-9]([-A-Za-z0-9_.:]*[A-Za-z0-9])?$"  # name
)
"""The shape the API server can check; the rest (scope, lengths of the parts, names per kind) is checked here."""


class TargetError(ValueError):
    """Not a target. ``rule`` says what is wrong, ``remedy`` what to write; str() also names the value, shortened."""

    def __init__(self, raw: str, rule: str, remedy: str) -> None:
        super().__init__(f"target {_shown(raw)} {rule}: {remedy}")
        self.raw = raw
        self.rule = rule
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class _Builtin:
    kind: str
    namespaced: bool
    groups: frozenset[str]
    free_name: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed target. ``kind`` is the canonical (singular, lower-case) kind, ``namespace`` "" when cluster-scoped."""

    raw: str
    namespace: str
    kind: str
    name: str

    @property
    def canonical(self) -> str:
        """``namespace/kind/name`` or ``kind/name``."""
        return f"{self.namespace}/{self.kind}/{self.name}" if self.namespace else f"{self.kind}/{self.name}"

    def __str__(self) -> str:
        return self.canonical


# kind, other spellings (plural first), groups. "extensions" is where five of them lived before.
_NAMESPACED = """
pod pods,po core
service services,svc core
endpoints ep core
event events,ev core,events.k8s.io
configmap configmaps,cm core
secret secrets core
serviceaccount serviceaccounts,sa core
persistentvolumeclaim persistentvolumeclaims,pvc core
replicationcontroller replicationcontrollers,rc core
limitrange limitranges,limits core
resourcequota resourcequotas,quota core
podtemplate podtemplates core
deployment deployments,deploy apps,extensions
statefulset statefulsets,sts apps
daemonset daemonsets,ds apps,extensions
replicaset replicasets,rs apps,extensions
controllerrevision controllerrevisions apps
job jobs batch
cronjob cronjobs,cj batch
horizontalpodautoscaler horizontalpodautoscalers,hpa autoscaling
poddisruptionbudget poddisruptionbudgets,pdb policy
ingress ingresses,ing networking.k8s.io,extensions
networkpolicy networkpolicies,netpol networking.k8s.io,extensions
role roles rbac.authorization.k8s.io
rolebinding rolebindings rbac.authorization.k8s.io
csistoragecapacity csistoragecapacities storage.k8s.io
lease leases coordination.k8s.io
leasecandidate leasecandidates coordination.k8s.io
endpointslice endpointslices discovery.k8s.io
resourceclaim resourceclaims resource.k8s.io
resourceclaimtemplate resourceclaimtemplates resource.k8s.io
"""
_CLUSTER_SCOPED = """
node nodes,no core
namespace namespaces,ns core
persistentvolume persistentvolumes,pv core
componentstatus componentstatuses,cs core
ingressclass ingressclasses networking.k8s.io
ipaddress ipaddresses,ip networking.k8s.io
servicecidr servicecidrs networking.k8s.io
clusterrole clusterroles rbac.authorization.k8s.io
clusterrolebinding clusterrolebindings rbac.authorization.k8s.io
storageclass storageclasses,sc storage.k8s.io
csidriver csidrivers storage.k8s.io
csinode csinodes storage.k8s.io
volumeattachment volumeattachments storage.k8s.io
volumeattributesclass volumeattributesclasses,vac storage.k8s.io
priorityclass priorityclasses,pc scheduling.k8s.io
runtimeclass runtimeclasses node.k8s.io
customresourcedefinition customresourcedefinitions,crd,crds apiextensions.k8s.io
apiservice apiservices apiregistration.k8s.io
mutatingwebhookconfiguration mutatingwebhookconfigurations admissionregistration.k8s.io
validatingwebhookconfiguration validatingwebhookconfigurations admissionregistration.k8s.io
validatingadmissionpolicy validatingadmissionpolicies admissionregistration.k8s.io
validatingadmissionpolicybinding validatingadmissionpolicybindings admissionregistration.k8s.io
mutatingadmissionpolicy mutatingadmissionpolicies admissionregistration.k8s.io
mutatingadmissionpolicybinding mutatingadmissionpolicybindings admissionregistration.k8s.io
certificatesigningrequest certificatesigningrequests,csr certificates.k8s.io
clustertrustbundle clustertrustbundles certificates.k8s.io
flowschema flowschemas flowcontrol.apiserver.k8s.io
prioritylevelconfiguration prioritylevelconfigurations flowcontrol.apiserver.k8s.io
deviceclass deviceclasses resource.k8s.io
resourceslice resourceslices resource.k8s.io
"""
_FREE_NAMES = frozenset({"role", "rolebinding", "clusterrole", "clusterrolebinding"})


def _table() -> dict[str, _Builtin]:
    out: dict[str, _Builtin] = {}
    for text, namespaced in ((_NAMESPACED, True), (_CLUSTER_SCOPED, False)):
        for line in text.split("\n"):
            if not line:
                continue
            kind, spellings, groups = line.split(" ")
            entry = _Builtin(
                kind, namespaced, frozenset("" if g == "core" else g for g in groups.split(",")), kind in _FREE_NAMES
            )
            for spelling in (kind, *spellings.split(",")):
                if out.setdefault(spelling, entry) is not entry:
                    raise ValueError(f"{spelling} names two built-in kinds")
    return out


_BUILTINS = _table()


def qualified_spellings(*, namespaced: bool) -> list[str]:
    """Every spelling of the built-in kinds of that scope, alone and with each of its groups (``deploy.apps``)."""
    out: list[str] = []
    for spelling, entry in _BUILTINS.items():
        if entry.namespaced == namespaced:
            out += [spelling, *(f"{spelling}.{group}" for group in sorted(entry.groups) if group)]
    return out


def _shown(text: str) -> str:
    short = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
    return '"' + short.encode("unicode_escape").decode("ascii") + '"'


def parse_target(raw: str) -> Target:
    """Parse ``[namespace/]kind[.group]/name``; raises TargetError.

    The scope of built-in kinds is checked. A kind that bears a group which is not the built-in's own is a custom kind:
    its scope is not known here, its canonical form is the same. So a canonical form may itself be refused: that of a
    custom cluster-scoped ``Ingress`` is ``ingress/x``.
    """
    target, entry = _split(raw)
    if entry is None:
        return target
    if entry.namespaced and not target.namespace:
        raise TargetError(
            raw,
            f"has no namespace, but {entry.kind} is a namespaced kind",
            f"write <namespace>/{entry.kind}/<name>",
        )
    if target.namespace and not entry.namespaced:
        raise TargetError(
            raw, f"has a namespace, but {entry.kind} is a cluster-scoped kind", f"write {entry.kind}/<name>"
        )
    if not entry.free_name and not _SUBDOMAIN.fullmatch(target.name):
        raise TargetError(
            raw,
            f"has the name {_shown(target.name)}, which no {entry.kind} can have",
            "use lower-case letters, digits, '-' and '.', a letter or digit first and last",
        )
    return target


@lru_cache(maxsize=1024)
def _split(raw: str) -> tuple[Target, _Builtin | None]:
    """The parsed target and the built-in kind it names, if it names one."""
    example = "write namespace/kind/name, or kind/name for a cluster-scoped kind"
    if not raw:
        raise TargetError(raw, "is empty", example)
    if len(raw) > MAX_LENGTH:
        raise TargetError(raw, f"has {len(raw)} characters, at most {MAX_LENGTH} are allowed", example)
    parts = raw.split("/")
    if len(parts) not in (2, 3):
        count = f"{len(parts)} part{'' if len(parts) == 1 else 's'}"
        raise TargetError(raw, f"has {count}, 2 or 3 separated by '/' are allowed", example)
    if "" in parts:
        raise TargetError(raw, "has an empty part", example)
    namespace = parts[0] if len(parts) == 3 else ""
    kind, _, group = parts[-2].partition(".")
    name = parts[-1]
    if namespace and not _NAMESPACE.fullmatch(namespace):
        raise TargetError(
            raw,
            f"has the namespace {_shown(namespace)}, which is not a DNS label",
            "use at most 63 lower-case letters, digits and '-', a letter or digit first and last",
        )
    if not _KIND.fullmatch(kind):
        raise TargetError(
            raw,
            f"has the kind {_shown(kind)}, which is not a kind's name",
            "use at most 63 letters and digits, a letter first",
        )
    if "." in parts[-2] and not (len(group) <= 253 and _GROUP.fullmatch(group)):
        raise TargetError(
            raw,
            f"has the API group {_shown(group)}, which is not a DNS subdomain",
            f"write {kind}.apps for example, or leave the group out",
        )
    if len(name) > 253 or not _FREE_NAME.fullmatch(name):
        raise TargetError(
            raw,
            f"has the name {_shown(name)}, which is not an object's name",
            "use at most 253 letters, digits, '-', '.', '_' and ':', a letter or digit first and last",
        )
    spelling = kind.lower()
    entry = _BUILTINS.get(spelling)
    canonical_kind = entry.kind if entry else spelling
    if entry is not None and group and _VERSION_PREFIX.sub("", group, count=1) not in entry.groups:
        entry = None
    return Target(raw, namespace, canonical_kind, name), entry
