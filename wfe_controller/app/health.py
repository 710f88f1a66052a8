"""The two probes and what keeps them current (SPEC 8, I-58, P:W9, P:X3).

Liveness: the loop moves, supervised tasks live, the lease is renewed, some watch had contact. Not: dependencies.
Readiness: caches synced, rights there, CRDs as this version needs them, engines known, configuration usable; standbys
are ready too, without leading (P:E6).
"""

from __future__ import annotations

import structlog

from wfe_controller.api import names
from wfe_controller.app.config import Settings
from wfe_controller.app.drift import Installed, inspect_crd
from wfe_controller.app.reload import Reloader
from wfe_controller.app.rights import Scope, ask_rights, missing
from wfe_controller.app.wiring import Assembly
from wfe_controller.kube.cache.informer import Informer
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.election.elector import Elector
from wfe_controller.kube.errors import KubeError
from wfe_controller.kube.probes import Check, CheckResult, Probe

log = structlog.get_logger("wfe.app")

ASK_EVERY = 60.0
ASK_AGAIN = 10.0
"""Seconds between two rounds of access reviews: when all is well, and while something is missing."""
NO_CONTACT = 600.0
"""Seconds without any answer from any watch after which the process is better restarted (P:W2)."""


class Health:
    """``live`` and ``ready`` for the HTTP server; ``run`` asks the server once a minute for rights and schemas."""

    def __init__(
        self, settings: Settings, assembly: Assembly, api: Api, home: str, reloader: Reloader, clock: Clock
    ) -> None:
        self._api = api
        self._clock = clock
        self._assembly = assembly
        self._scope = Scope(
            home,
            settings.execution.namespace,
            settings.controller.watch_namespaces,
            settings.engines,
            settings.controller.leader_election_id,
        )
        self._tekton_required = settings.tekton_required
        self._asked: float | None = None
        self._rights = "not asked yet"
        self._schema = "not compared yet"
        self._said = ""
        self.live, self.ready = Probe(), Probe()
        self.live.add("event-loop", assembly.manager.check_loop)
        self.live.add("tasks", assembly.manager.check_tasks)
        if isinstance(assembly.elector, Elector):
            self.live.add("lease", assembly.elector.check_health)
        self.live.add("contact", self._contact)
        for name, informer in assembly.informers.items():
            self.ready.add(f"cache-{name}", _cache_check(informer))
        self.ready.add("rights", lambda: self._result(self._rights))
        self.ready.add("crds", lambda: self._result(self._schema))
        for engine in settings.engines:
            self.ready.add(f"engine-{engine}", self._engine(engine))
        self.ready.add("config", reloader.check)

    async def run(self) -> None:
        """Ask, then again every minute, until cancelled."""
        while True:
            await self.ask()
            await self._clock.sleep(ASK_EVERY if not self._rights and not self._schema else ASK_AGAIN)

    async def ask(self) -> None:
        """One round; an answer that could not be had keeps the last verdict and its growing age."""
        try:
            lacking = missing(await ask_rights(self._api, self._scope))
            drifts = [await inspect_crd(self._api, kind) for kind in (names.WORKFLOWEXECUTIONS, names.TARGETLOCKS)]
        except KubeError as error:
            log.warning("rights and schemas could not be asked for", why=str(error))
            return
        self._rights = f"missing: {'; '.join(map(str, lacking))}" if lacking else ""
        self._schema = "; ".join(trouble for found in drifts if (trouble := _trouble(found)))
        self._asked = self._clock.monotonic()
        said = "; ".join(part for part in (self._rights, self._schema) if part)
        if said and said != self._said:
            log.error("the controller cannot do all its work", why=said)
        self._said = said

    def _result(self, trouble: str) -> CheckResult:
        age = 0.0 if self._asked is None else self._clock.monotonic() - self._asked
        return CheckResult(not trouble, trouble, age)

    def _contact(self) -> CheckResult:
        ages = [i.last_contact() for i in self._assembly.informers.values() if i.has_synced()]
        if not ages:
            return CheckResult(True, "no cache has synced yet")
        age = min(ages)
        return CheckResult(age < NO_CONTACT, "" if age < NO_CONTACT else "no watch heard from the API server", age)

    def _engine(self, name: str) -> Check:
        """A missing engine is told; it makes the process unready only when it is required (``requireTekton``)."""
        required = name == "tekton" and self._tekton_required

        def check() -> CheckResult:
            available, why = self._assembly.world.engine(name)
            return CheckResult(available or not required, why)

        return check


def _trouble(found: Installed) -> str:
    """Why this CRD keeps the controller from working ("" = it does not): fields it writes would be pruned."""
    name = found.resource.group_resource
    if not found.served:
        return f"{name}: {found.why}; apply the CRDs of this version (wfe-controller manifests crds)"
    if found.drift is not None and found.drift.missing:
        return f"{name} is older than this version ({found.drift}); apply the CRDs of this version"
    return ""


def _cache_check(informer: Informer) -> Check:
    def check() -> CheckResult:
        age = informer.last_contact()
        if informer.settled():
            return CheckResult(True, informer.last_error or "", 0.0 if age == float("inf") else age)
        return CheckResult(False, informer.last_error or "not synced yet", 0.0 if age == float("inf") else age)

    return check
