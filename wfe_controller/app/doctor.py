"""Preflight: is everything there that the controller needs, and is anything there that would work against it?

Each check asks the API server and yields rows; a check that cannot ask says so and the others go on. Nothing is
written. The facts that matter at start (rights, CRD drift, Tekton) live in app/rights and app/drift.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import yaml

from wfe_controller.api.names import PIPELINERUNS, TARGETLOCKS, WORKFLOWEXECUTIONS
from wfe_controller.app.config import Settings
from wfe_controller.app.config_rules import go_duration
from wfe_controller.app.drift import inspect_crd, served
from wfe_controller.app.rights import Answer, Scope, ask_rights, missing
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.clock import Clock, parse_rfc3339
from wfe_controller.kube.errors import Forbidden, KubeError, NotFound
from wfe_controller.kube.objects import (
    CRDS,
    LEASES,
    NAMESPACES,
    SERVICE_ACCOUNTS,
    Json,
    ObjectKey,
    Resource,
    labels_of,
    mapping,
    name_of,
    namespace_of,
    spec,
    text,
)

MIN_KUBERNETES = (1, 32)
MIN_TEKTON = (1, 6)
TIMEOUTS_FIXED_IN_TEKTON = (1, 12)
MAX_SKEW_SECONDS = 5.0
TEKTON_NAMESPACE = "tekton-pipelines"
RESOLVERS_NAMESPACE = "tekton-pipelines-resolvers"

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
TEKTON_CONFIGS = Resource("operator.tekton.dev", "v1alpha1", "tektonconfigs", "TektonConfig", namespaced=False)


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report. ``remedy`` is empty when there is nothing to do."""

    name: str
    verdict: Verdict
    seen: str
    remedy: str = ""


def ok(name: str, seen: str) -> Row:
    return Row(name, Verdict.OK, seen)


def warn(name: str, seen: str, remedy: str) -> Row:
    return Row(name, Verdict.WARN, seen, remedy)


def fail(name: str, seen: str, remedy: str) -> Row:
    return Row(name, Verdict.FAIL, seen, remedy)


def parse_version(version: str) -> tuple[int, int] | None:
    """``v1.36.3``, ``1.6``, ``v1.30.4-gke.1`` as (major, minor); None when it is no version."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else None


@dataclass(frozen=True, slots=True)
class Doctor:
    """``home``: the controller's namespace. ``api`` needs no throttle."""

    api: Api
    settings: Settings
    home: str
    clock: Clock

    async def examine(self) -> list[Row]:
        """Every row. When the server does not answer at all, only that."""
        rows = await self._ask("server", self.server)
        if rows[0].verdict is Verdict.FAIL and rows[0].name == "server":
            return rows
        checks: list[tuple[str, Callable[[], AsyncIterator[Row]]]] = [
            ("clock", self.skew),
            ("namespaces", self.namespaces),
            ("rights", self.rights),
            ("crds", self.crds),
        ]
        if "tekton" in self.settings.engines:
            checks += [("tekton", self.tekton), ("tekton pruner", self.pruner)]
        checks += [("runner account", self.runner), ("lease", self.lease), ("other installs", self.others)]
        for name, check in checks:
            rows += await self._ask(name, check)
        return rows

    async def _ask(self, name: str, check: Callable[[], AsyncIterator[Row]]) -> list[Row]:
        rows: list[Row] = []
        try:
            async for row in check():
                rows.append(row)
        except KubeError as error:
            rows.append(fail(name, f"could not ask: {error}", "correct the connection or the rights, then try again"))
        return rows

    async def server(self) -> AsyncIterator[Row]:
        answer = await self.api.raw("GET", "/version")
        version = text(answer.get("gitVersion"))
        seen = f"Kubernetes {version or 'of unknown version'} at {self.api.transport.server}"
        parsed = parse_version(version)
        if parsed is None:
            yield warn("server", seen, f"make sure it is at least {_dotted(MIN_KUBERNETES)}")
        elif parsed < MIN_KUBERNETES:
            yield fail("server", seen, f"upgrade to Kubernetes {_dotted(MIN_KUBERNETES)} or later")
        else:
            yield ok("server", seen)

    async def skew(self) -> AsyncIterator[Row]:
        before = self.clock.now()
        date = await self.api.server_date()
        if date is None:
            yield warn(
                "clock", "the server sends no Date header", "check the clocks by hand; they must agree within 5 s"
            )
            return
        # The header is cut to whole seconds and made somewhere between the two readings.
        ahead = (before - date).total_seconds() - 1.0
        behind = (date - self.clock.now()).total_seconds()
        skew = max(ahead, behind, 0.0)
        if skew > MAX_SKEW_SECONDS:
            side = "ahead of" if ahead > behind else "behind"
            yield warn(
                "clock",
                f"this machine is {skew:.0f} s {side} the server",
                "synchronise the clocks (NTP); deadlines shift",
            )
        else:
            yield ok("clock", f"within {MAX_SKEW_SECONDS:g} s of the server")

    async def namespaces(self) -> AsyncIterator[Row]:
        wanted = {
            self.home: "controller.namespace",
            self.settings.execution.namespace: "execution.namespace",
            **dict.fromkeys(self.settings.controller.watch_namespaces, "controller.watchNamespaces"),
        }
        for namespace, key in wanted.items():
            name = f"namespace {namespace}"
            found = await _optional(self.api.get(NAMESPACES, ObjectKey("", namespace)))
            match found:
                case Forbidden():
                    yield warn(name, "may not be looked at", "grant get on namespaces to have it checked")
                case NotFound():
                    yield fail(name, "does not exist", f"kubectl create namespace {namespace}, or correct {key}")
                case _ if mapping(mapping(found).get("status")).get("phase") == "Terminating":
                    yield fail(name, "is being deleted", f"wait until it is gone and create it again, or correct {key}")
                case _:
                    yield ok(name, "exists")

    async def rights(self) -> AsyncIterator[Row]:
        scope = Scope(
            self.home,
            self.settings.execution.namespace,
            self.settings.controller.watch_namespaces,
            self.settings.engines,
            self.settings.controller.leader_election_id,
        )
        answers = await ask_rights(self.api, scope)
        remedy = "apply the RBAC of 'wfe-controller manifests rbac', or use an account that is bound to it"
        # One row for all verbs on one thing: a missing Role is a handful of rows, not forty.
        lacking: dict[tuple[str, str, str], list[Answer]] = {}
        for answer in missing(answers, required_only=False):
            lacking.setdefault((answer.right.object, answer.question.where, answer.right.why), []).append(answer)
        for (thing, where, why), group in lacking.items():
            verbs = ", ".join(dict.fromkeys(answer.right.verb for answer in group))
            reasons = "; ".join(dict.fromkeys(answer.reason for answer in group if answer.reason))
            seen = f"may not {verbs} {thing} {where}{f' ({reasons})' if reasons else ''}; needed to {why}"
            yield (fail if any(answer.right.required for answer in group) else warn)("right", seen, remedy)
        if not lacking:
            yield ok("rights", f"all {len(answers)} are granted")

    async def crds(self) -> AsyncIterator[Row]:
        for resource in (WORKFLOWEXECUTIONS, TARGETLOCKS):
            name = f"crd {resource.plural}"
            remedy = "kubectl apply --server-side -f the output of 'wfe-controller manifests crds'"
            found = await inspect_crd(self.api, resource)
            if not found.served:
                yield fail(name, found.why or "not served", remedy)
            elif found.drift is None:
                yield warn(name, f"served; {found.why}", "grant get on this CRD to have its schema compared")
            elif found.drift.harmful:
                yield fail(name, str(found.drift), remedy)
            elif found.drift.extra:
                yield warn(name, str(found.drift), "the CRD is newer than this program: upgrade the controller")
            else:
                yield ok(name, "served, with the schema of this version")

    async def tekton(self) -> AsyncIterator[Row]:
        if not await served(self.api, PIPELINERUNS):
            remedy = "install Tekton Pipelines, or set engines to the ones that exist"
            yield (fail if self.settings.tekton_required else warn)("tekton", "tekton.dev/v1 is not served", remedy)
            return
        version = await self.tekton_version()
        parsed = parse_version(version)
        if parsed is None:
            seen = f"served; calls itself {version}" if version else "served; version not readable"
            yield warn("tekton", seen, f"make sure it is at least {_dotted(MIN_TEKTON)}")
        elif parsed < MIN_TEKTON:
            yield fail("tekton", f"Tekton {version}", f"upgrade Tekton Pipelines to {_dotted(MIN_TEKTON)} or later")
        else:
            yield ok("tekton", f"Tekton {version}")
        yield await self._default_timeout(parsed)
        flags = await self._config_map(RESOLVERS_NAMESPACE, "resolvers-feature-flags")
        if flags is not None and flags.get("enable-bundles-resolver") == "false":
            yield fail(
                "tekton resolvers",
                "the bundles resolver is off",
                f"set enable-bundles-resolver in ConfigMap {RESOLVERS_NAMESPACE}/resolvers-feature-flags to true",
            )

    async def tekton_version(self) -> str:
        """Tekton's version as it says itself, or "" when nobody may read it."""
        info = await self._config_map(TEKTON_NAMESPACE, "pipelines-info") or {}
        claims = [text(info.get("version"))]
        definition = await _optional(self.api.get(CRDS, ObjectKey("", PIPELINERUNS.group_resource)))
        if not isinstance(definition, KubeError):
            labels = labels_of(definition)
            claims += [labels.get(label, "") for label in ("pipeline.tekton.dev/release", "app.kubernetes.io/version")]
        return next((claim for claim in claims if parse_version(claim)), next(filter(None, claims), ""))

    async def _default_timeout(self, version: tuple[int, int] | None) -> Row:
        name = "tekton time-out"
        defaults = await self._config_map(TEKTON_NAMESPACE, "config-defaults")
        if defaults is None:
            return ok(name, f"ConfigMap {TEKTON_NAMESPACE}/config-defaults not readable")
        minutes = text(defaults.get("default-timeout-minutes")) or "60"
        seen = f"default-timeout-minutes is {minutes}"
        limit = float(minutes) * 60 if minutes.isdecimal() else 0.0
        ours = self.settings.execution.default_timeout
        if limit and ours > limit and version is not None and version < TIMEOUTS_FIXED_IN_TEKTON:
            return warn(
                name,
                f"{seen}, less than execution.defaultTimeout = {go_duration(ours)}",
                f"before {_dotted(TIMEOUTS_FIXED_IN_TEKTON)} its tasks end at the shorter one: raise it, or upgrade",
            )
        return ok(name, seen)

    async def pruner(self) -> AsyncIterator[Row]:
        """Settings of other programs that delete runs under us (P:T1)."""
        name = "tekton pruner"
        remedy = f"exclude namespace {self.settings.execution.namespace}: finished runs are removed by this controller"
        config = await _optional(self.api.get(TEKTON_CONFIGS, ObjectKey("", "config")))
        if not isinstance(config, KubeError):
            pruner = mapping(spec(config).get("pruner"))
            if pruner and not pruner.get("disabled"):
                shown = ", ".join(f"{key}={value}" for key, value in sorted(pruner.items()))
                yield warn(name, f"TektonConfig prunes: {shown}", remedy)
                return
        event_driven = await self._config_map(TEKTON_NAMESPACE, "tekton-pruner-default-spec")
        if event_driven is None:
            yield ok(name, "none seen")
            return
        limits = _pruner_limits(text(event_driven.get("global-config")), self.settings.execution.namespace)
        if limits:
            yield warn(name, f"ConfigMap {TEKTON_NAMESPACE}/tekton-pruner-default-spec: {limits}", remedy)
        else:
            yield ok(name, "installed, without limits for the execution namespace")

    async def runner(self) -> AsyncIterator[Row]:
        execution = self.settings.execution
        for account in dict.fromkeys((execution.service_account, *execution.allowed_service_accounts)):
            found = await _optional(self.api.get(SERVICE_ACCOUNTS, ObjectKey(execution.namespace, account)))
            where = f"{execution.namespace}/{account}"
            match found:
                case NotFound():
                    key = "serviceAccount" if account == execution.service_account else "allowedServiceAccounts"
                    remedy = (
                        f"kubectl create serviceaccount -n {execution.namespace} {account}, or correct execution.{key}"
                    )
                    yield fail("runner account", f"{where} does not exist", remedy)
                case KubeError():
                    yield warn("runner account", f"{where} may not be looked at", "grant get on serviceaccounts there")
                case _:
                    yield ok("runner account", f"{where} exists")

    async def lease(self) -> AsyncIterator[Row]:
        lease_id = self.settings.controller.leader_election_id
        found = await _optional(self.api.get(LEASES, ObjectKey(self.home, lease_id)))
        where = f"{self.home}/{lease_id}"
        match found:
            case NotFound():
                yield ok("lease", f"{where} does not exist: the controller has not run here yet")
            case KubeError():
                yield warn("lease", f"{where} may not be read", "grant get on leases there")
            case _:
                now = await self._now()
                holder, age = _holder(found), _renewed_ago(found, now)
                if not holder:
                    yield ok("lease", f"{where} is free: no controller is running")
                elif _alive(found, now):
                    yield ok("lease", f"{where} is held by {holder}, renewed {age:.0f} s ago")
                else:
                    since = "never renewed" if age is None else f"last renewed {go_duration(round(age))} ago"
                    remedy = "look at the controller's pods; a new leader takes over by itself as soon as one runs"
                    yield warn("lease", f"{where} is held by {holder}, {since}", remedy)

    async def others(self) -> AsyncIterator[Row]:
        """Another live lease of our name in another namespace: two controllers for one cluster (P:U5)."""
        name = "other installs"
        lease_id = self.settings.controller.leader_election_id
        try:
            leases = await self.api.list(LEASES, field_selector=f"metadata.name={lease_id}")
        except Forbidden:
            yield ok(name, "leases of other namespaces may not be listed: not checked")
            return
        now = await self._now()
        rivals = [lease for lease in leases if namespace_of(lease) != self.home and _alive(lease, now)]
        for rival in rivals:
            yield fail(
                name,
                f"lease {namespace_of(rival)}/{name_of(rival)} is held by {_holder(rival)}",
                "stop one of the two, or give each its own controller.watchNamespaces and execution.namespace",
            )
        if not rivals:
            yield ok(name, "none seen")

    async def _now(self) -> datetime:
        """The server's time, since other machines' timestamps are compared with it."""
        return await self.api.server_date() or self.clock.now()

    async def _config_map(self, namespace: str, name: str) -> Json | None:
        found = await _optional(self.api.get(CONFIG_MAPS, ObjectKey(namespace, name)))
        return None if isinstance(found, KubeError) else dict(mapping(found.get("data")))


async def _optional(answer: Awaitable[Json]) -> Json | NotFound | Forbidden:
    """The object, or the refusal as a value; other errors are raised."""
    try:
        return await answer
    except (NotFound, Forbidden) as error:
        return error


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _holder(lease: Json) -> str:
    return text(spec(lease).get("holderIdentity"))


def _renewed_ago(lease: Json, now: datetime) -> float | None:
    renewed = parse_rfc3339(spec(lease).get("renewTime"))
    return None if renewed is None else max(0.0, (now - renewed).total_seconds())


def _alive(lease: Json, now: datetime) -> bool:
    age = _renewed_ago(lease, now)
    duration = spec(lease).get("leaseDurationSeconds")
    limit = duration if isinstance(duration, int) else 15
    return bool(_holder(lease)) and age is not None and age <= limit


_PRUNER_KEYS = ("ttlSecondsAfterFinished", "historyLimit", "successfulHistoryLimit", "failedHistoryLimit")


def _pruner_limits(document: str, namespace: str) -> str:
    """The limits of Tekton Pruner's global config that apply to ``namespace``: ``ttlSecondsAfterFinished=60, ...``."""
    try:
        config = mapping(yaml.safe_load(document))
    except yaml.YAMLError:
        return "unreadable global-config"
    local = mapping(mapping(config.get("namespaces")).get(namespace))
    limits = {key: local.get(key, config.get(key)) for key in _PRUNER_KEYS}
    return ", ".join(f"{key}={value}" for key, value in limits.items() if value is not None)
