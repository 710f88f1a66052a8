"""Tekton's controller of PipelineRuns: resolves the pipeline, creates TaskRuns in their turn, writes the status."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog

from wfe_controller.api import names
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import parse_rfc3339, rfc3339
from wfe_controller.kube.control.outcomes import Done, Outcome, RequeueAfter
from wfe_controller.kube.control.sources import myself
from wfe_controller.kube.errors import AlreadyExists, BadRequest, Invalid, NotFound
from wfe_controller.kube.objects import Json, ObjectKey, is_deleting, items, labels_of, mapping, text, uid_of
from wfe_controller.sandbox.simulators.simulation import Simulation, controller_keys, owner_reference
from wfe_controller.sandbox.simulators.tekton import graph, resolver, terms
from wfe_controller.sandbox.simulators.tekton.facts import Facts, Member
from wfe_controller.sandbox.simulators.tekton.graph import Unfit
from wfe_controller.sandbox.simulators.tekton.resolver import Refused, Resolver, Unresolved
from wfe_controller.sandbox.simulators.tekton.substitution import names_of, parameters, substitute, without

log = structlog.get_logger("wfe.sandbox")

RESOLVE_SECONDS = 0.3
"""At speed 1, from the first look at a run to its pipeline."""


class PipelineRuns:
    """Registers itself with the simulation."""

    def __init__(self, simulation: Simulation, resolves: Resolver) -> None:
        self._sim = simulation
        self._api, self._clock = simulation.api, simulation.clock
        self._resolver = resolves
        self._resolving: dict[str, float] = {}
        simulation.informer(names.TASKRUNS)
        simulation.controller(
            "pipelineruns",
            self.reconcile,
            (names.PIPELINERUNS, myself),
            (names.TASKRUNS, controller_keys("PipelineRun")),
            workers=4,
        )

    async def reconcile(self, key: ObjectKey) -> Outcome:
        run = self._sim.fresh(names.PIPELINERUNS, key)
        if run is None or is_deleting(run) or terms.is_done(run):
            if run is not None:
                self._resolving.pop(uid_of(run), None)
            return Done()
        if not terms.is_ours(run):
            return Done()
        if (wait := self._sim.behind(names.PIPELINERUNS, key)) is not None:
            return wait
        status: Json = {**mapping(run.get("status"))}
        outcome = await self._decide(key, {**run, "status": status}, status)
        await self._write(key, run, status)
        return outcome

    async def _decide(self, key: ObjectKey, run: Json, status: Json) -> Outcome:
        asked = text(run["spec"].get("status"))
        if asked == terms.PENDING:
            self._running(status, terms.PENDING, f'PipelineRun "{key.name}" is pending')
            return Done()
        if self._overdue(run):
            self._end(status, "False", *self._timed_out(run))
            await self._stop_tasks(key, status, terms.BY_TIMEOUT)
            return Done()
        status.setdefault("startTime", self._now())
        if asked == terms.CANCELLED:
            await self._stop_tasks(key, status, terms.BY_PIPELINE)
            self._end(status, "False", "Cancelled", f'PipelineRun "{key.name}" was cancelled')
            return Done()
        try:
            pipeline = await self._pipeline(key, run, status)
            if pipeline is None:
                return self._resolving_again(run)
            return await self._advance(key, run, status, *pipeline)
        except Unfit as unfit:
            self._end(status, "False", unfit.reason, unfit.message)
            return Done()

    # -- the pipeline

    async def _pipeline(self, key: ObjectKey, run: Json, status: Json) -> tuple[str, Json] | None:
        """(name, spec with defaults) or None while it is being resolved. What was resolved once stays."""
        reference = mapping(run["spec"].get("pipelineRef"))
        name = labels_of(run).get(terms.LABEL_PIPELINE) or text(reference.get("name")) or key.name
        if stored := mapping(status.get("pipelineSpec")):
            return name, dict(stored)
        if "pipelineSpec" in run["spec"]:
            return key.name, graph.with_defaults(mapping(run["spec"]["pipelineSpec"]))
        if not text(reference.get("resolver")):
            found = await self._stored_pipeline(key, name)
        else:
            waited = self._waited(uid_of(run))
            answer = self._resolver.resolve(text(reference["resolver"]), resolver.parameters(reference))
            early = waited < RESOLVE_SECONDS and not self._left_behind(run)
            if early or isinstance(answer, Unresolved):
                message = f"PipelineRun {key} awaiting remote resource"
                self._running(status, "ResolvingPipelineRef", message)
                return None
            if isinstance(answer, Refused):
                request = f"{key.namespace}/bundles-{uid_of(run).replace('-', '')}"
                why = "resolver failed to get Pipeline : error requesting remote resource: error getting "
                raise self._unresolved(key, f'{why}"bundleresolver" "{request}": {answer.message}')
            found = answer.pipeline
        return text(mapping(found.get("metadata")).get("name")), graph.with_defaults(mapping(found.get("spec")))

    async def _stored_pipeline(self, key: ObjectKey, name: str) -> Json:
        try:
            return await self._api.get(terms.PIPELINES, ObjectKey(key.namespace, name))
        except NotFound:
            missing = f'pipelines.tekton.dev "{name}" not found'
            raise self._unresolved(key, f"error when listing pipelines for pipelineRun {key.name}: {missing}") from None

    def _unresolved(self, key: ObjectKey, why: str) -> Unfit:
        return Unfit("CouldntGetPipeline", f"Error retrieving pipeline for pipelinerun {key}: {why}")

    def _left_behind(self, run: Json) -> bool:
        """An earlier run of this name was deleted without its children: its ResolutionRequest is still there too."""
        meta = run["metadata"]
        return any(
            child.labels.get(terms.LABEL_RUN) == meta["name"] and child.labels.get(terms.LABEL_RUN_UID) != meta["uid"]
            for child in self._sim.informer(names.TASKRUNS).store.list()
            if child.key.namespace == meta["namespace"]
        )

    def _waited(self, uid: str) -> float:
        began = self._resolving.setdefault(uid, self._clock.monotonic())
        return (self._clock.monotonic() - began) * self._sim.speed

    def _resolving_again(self, run: Json) -> Outcome:
        left = (RESOLVE_SECONDS - self._waited(uid_of(run))) / self._sim.speed
        return RequeueAfter(left + 0.001) if left > 0 else self._at_time_out(run)

    # -- the tasks

    async def _advance(self, key: ObjectKey, run: Json, status: Json, name: str, spec: Json) -> Outcome:
        status["pipelineSpec"] = spec
        run["metadata"].setdefault("labels", {})[terms.LABEL_PIPELINE] = name
        graph.check(run, name, spec)
        spec = status["pipelineSpec"] = self._substituted(run, name, spec)
        facts = self._facts(key, run, spec)
        if facts.asked == terms.CANCELLED_RUN_FINALLY and any(member.running for member in facts.main()):
            await self._stop_tasks(key, status, terms.BY_PIPELINE)
        if "finallyStartTime" not in status:
            late = [m for m in facts.main() if m.running] if facts.over(facts.tasks_limit) else []
        else:
            last = facts.over(facts.finally_limit, "finallyStartTime")
            late = [m for m in facts.members if m.final and m.running] if last else []
        await self._stop_tasks(key, status, terms.BY_TIMEOUT, {member.name for member in late})
        if facts.confused():
            return self._at_time_out(run)
        await self._start_next(run, status, facts)
        if facts.over(facts.pipeline_limit):
            await self._stop_tasks(key, status, terms.BY_TIMEOUT)
        self._conclude(status, facts, spec)
        return self._at_time_out(run) if status["conditions"][0]["status"] == "Unknown" else Done()

    def _substituted(self, run: Json, name: str, spec: Json) -> Json:
        meta = run["metadata"]
        words = {
            **parameters(spec.get("params"), run["spec"].get("params")),
            "context.pipelineRun.name": meta["name"],
            "context.pipelineRun.namespace": meta["namespace"],
            "context.pipelineRun.uid": meta["uid"],
            "context.pipeline.name": name,
        }

        def task(entry: Json) -> Json:
            own = without(words, names_of(mapping(entry.get("taskSpec")).get("params")))
            return {key: substitute(value, own if key == "taskSpec" else words) for key, value in entry.items()}

        found = {**spec}
        for part in ("tasks", "finally"):
            if part in found:
                found[part] = [task(entry) for entry in items(found[part])]
        return found

    def _facts(self, key: ObjectKey, run: Json, spec: Json) -> Facts:
        tasks = [mapping(entry) for entry in items(spec.get("tasks"))]
        store = self._sim.informer(names.TASKRUNS).store
        children = {
            text(mapping(entry).get("pipelineTaskName")): text(mapping(entry).get("name"))
            for entry in items(run["status"].get("childReferences"))
        }

        def member(entry: Mapping[str, Any], final: bool) -> Member:
            name = text(entry.get("name"))
            # By name, whoever owns it: a TaskRun that an earlier run left behind is taken for this run's own.
            known = store.get(ObjectKey(key.namespace, children.get(name) or terms.child_name(key.name, f"-{name}")))
            return Member(dict(entry), final, known.decode() if known is not None else None)

        members = [member(entry, False) for entry in tasks]
        members += [member(mapping(entry), True) for entry in items(spec.get("finally"))]
        return Facts(run, members, graph.dependencies(tasks), self._clock.now())

    async def _start_next(self, run: Json, status: Json, facts: Facts) -> None:
        starting = facts.next_tasks()
        last = facts.next_finally()
        if last and "finallyStartTime" not in status:
            status["finallyStartTime"] = self._now()
        words = facts.words()
        for member in [*starting, *last]:
            member.task_run = await self._create(run, member, facts, words)
        facts.forget_skips()

    async def _create(self, run: Json, member: Member, facts: Facts, words: Mapping[str, str | list[str]]) -> Json:
        meta, task = run["metadata"], substitute(member.task, words)
        spec: Json = {
            "serviceAccountName": text(mapping(run["spec"].get("taskRunTemplate")).get("serviceAccountName"))
            or "default",
            "taskSpec": graph.task_defaults(mapping(task["taskSpec"])),
        }
        if template := mapping(mapping(run["spec"].get("taskRunTemplate")).get("podTemplate")):
            spec["podTemplate"] = template
        if items(task.get("params")):
            spec["params"] = task["params"]
        if task.get("retries"):
            spec["retries"] = task["retries"]
        limit = facts.finally_limit if member.final else facts.tasks_limit
        if text(task.get("timeout")):
            spec["timeout"] = task["timeout"]
        elif limit is not None and (limit > terms.DEFAULT_TIMEOUT or not limit):
            given = mapping(run["spec"].get("timeouts")).get("finally" if member.final else "tasks")
            spec["timeout"] = text(given) or f"{limit.total_seconds():g}s"
        else:
            # Written by Tekton's webhook, into whatever TaskRun says nothing.
            spec["timeout"] = terms.DEFAULT_TIMEOUT_TEXT
        annotations = {**mapping(meta.get("annotations"))}
        if member.may_fail:
            annotations[terms.ANNOTATION_ON_ERROR] = "continue"
        name = terms.child_name(meta["name"], f"-{member.name}")
        body: Json = {
            "apiVersion": terms.API_VERSION,
            "kind": "TaskRun",
            "metadata": {
                "name": name,
                "namespace": meta["namespace"],
                "annotations": annotations,
                "labels": {
                    **labels_of(run),
                    terms.LABEL_RUN: meta["name"],
                    terms.LABEL_RUN_UID: meta["uid"],
                    terms.LABEL_TASK: member.name,
                    terms.LABEL_MEMBER_OF: "finally" if member.final else "tasks",
                    **mapping(mapping(mapping(task["taskSpec"]).get("metadata")).get("labels")),
                },
                "ownerReferences": [owner_reference(run)],
            },
            "spec": spec,
        }
        try:
            return await self._api.create(names.TASKRUNS, body, lane=Lane.READ)
        except AlreadyExists:
            return await self._api.get(names.TASKRUNS, ObjectKey(meta["namespace"], name))
        except (Invalid, BadRequest) as refused:
            raise Unfit("CreateRunFailed", refused.message) from refused

    async def _stop_tasks(self, key: ObjectKey, status: Json, why: str, only: set[str] | None = None) -> None:
        """Tells the TaskRuns that the status names; ``only`` those of these tasks."""
        store = self._sim.informer(names.TASKRUNS).store
        for child in items(status.get("childReferences")):
            if only is not None and child["pipelineTaskName"] not in only:
                continue
            known = store.get(ObjectKey(key.namespace, child["name"]))
            if known is None or known.field("spec", "status") or terms.is_done(known.decode()):
                continue  # Tekton's webhook refuses to change the spec of one that is done
            operations = [
                patches.add("/spec/status", terms.TASK_RUN_CANCELLED),
                patches.add("/spec/statusMessage", why),
            ]
            try:
                await self._api.patch(names.TASKRUNS, known.key, patches.json_patch(operations), lane=Lane.READ)
            except NotFound:
                log.debug("a TaskRun to be cancelled was gone already", task_run=str(known.key))

    # -- the status

    def _conclude(self, status: Json, facts: Facts, spec: Json) -> None:
        value, reason, message = facts.verdict()
        if value == "Unknown":
            self._running(status, reason, message)
        else:
            self._end(status, value, reason, message)
            if results := self._results(spec, facts):
                status["results"] = results
        for name, found in (("childReferences", facts.children()), ("skippedTasks", facts.skipped_tasks())):
            if found:
                status[name] = found
            else:
                status.pop(name, None)

    def _results(self, spec: Json, facts: Facts) -> list[Json]:
        words = facts.words()
        found = []
        for entry in items(spec.get("results")):
            value = substitute(entry.get("value"), words)
            if "$(tasks." not in str(value):
                found.append({"name": entry["name"], "value": value})
        return found

    def _running(self, status: Json, reason: str, message: str) -> None:
        terms.set_verdict(status, "Unknown", reason, message, self._now())

    def _end(self, status: Json, value: str, reason: str, message: str) -> None:
        terms.set_verdict(status, value, reason, message, self._now())
        status["completionTime"] = self._now()

    async def _write(self, key: ObjectKey, run: Json, status: Json) -> None:
        current = run
        name = mapping(run["metadata"].get("labels")).get(terms.LABEL_PIPELINE)
        stored = self._sim.informer(names.PIPELINERUNS).store.get(key)
        if name and (stored is None or stored.labels.get(terms.LABEL_PIPELINE) != name):
            patch = patches.merge_patch({"metadata": {"uid": uid_of(run), "labels": {terms.LABEL_PIPELINE: name}}})
            current = await self._api.patch(names.PIPELINERUNS, key, patch, lane=Lane.READ)
            self._sim.wrote(names.PIPELINERUNS, current)
        if status != mapping(run.get("status")):
            body = {**current, "status": status}
            written = await self._api.replace(names.PIPELINERUNS, body, subresource="status", lane=Lane.READ)
            self._sim.wrote(names.PIPELINERUNS, written)

    # -- time

    def _overdue(self, run: Json) -> bool:
        """Twice its time: Tekton gives up on a run that it could not end any other way, one that never resolves."""
        limit = terms.timeouts(run)[0]
        start = parse_rfc3339(mapping(run.get("status")).get("startTime"))
        return bool(limit) and start is not None and self._clock.now() - start >= 2 * limit

    def _timed_out(self, run: Json) -> tuple[str, str]:
        value, reason, message = Facts(run, [], {}, self._clock.now()).verdict()
        assert value == "False"
        return reason, message

    def _at_time_out(self, run: Json) -> Outcome:
        """Wake up when the next limit is over, counted from the start that the status names."""
        limits = [limit for limit in terms.timeouts(run)[:2] if limit]
        last = terms.timeouts(run)[2]
        start = parse_rfc3339(run["status"].get("startTime"))
        began = parse_rfc3339(run["status"].get("finallyStartTime"))
        ends = [start + limit for limit in [*limits, *(2 * limit for limit in limits[:1])]] if start else []
        if began is not None and last:
            ends.append(began + last)
        left = [(end - self._clock.now()).total_seconds() for end in ends]
        upcoming = [seconds for seconds in left if seconds > -timedelta(milliseconds=10).total_seconds()]
        return RequeueAfter(max(min(upcoming), 0.0) + 0.02) if upcoming else Done()

    def _now(self) -> str:
        return rfc3339(self._clock.now())
