"""Prometheus: the only importer of prometheus_client.

``Metrics`` implements the runtime's Instruments, ``Metrics.workflows`` the shell's WorkflowInstruments (two objects,
since both have a ``transition``). Families come from app/metric_names; every label value is checked against its closed
set on the way in, unknown ones are counted as "other".
"""

from __future__ import annotations

import platform
from collections.abc import Mapping

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from wfe_controller import __version__
from wfe_controller.app.metric_names import METRICS, OTHER, PHASES, Definition, Kind, Names
from wfe_controller.kube.clock import Clock, RealClock

# The library would export a second, useless "_created" series beside every counter and histogram.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library lacks annotations

_DEFINITIONS: Mapping[str, Definition] = {definition.name: definition for definition in METRICS}


class _Family:
    """One metric family that admits only the label values of its definition."""

    def __init__(self, definition: Definition, registry: CollectorRegistry) -> None:
        self._labels = definition.labels
        self._seen: dict[str, set[str]] = {label: set() for label in definition.labels}
        self._children: dict[tuple[str, ...], Counter | Gauge | Histogram] = {}
        names = tuple(definition.labels)
        self.metric: Counter | Gauge | Histogram
        if definition.kind is Kind.HISTOGRAM:
            self.metric = Histogram(
                definition.name, definition.help, names, buckets=definition.buckets, registry=registry
            )
        elif definition.kind is Kind.COUNTER:
            self.metric = Counter(definition.name, definition.help, names, registry=registry)
        else:
            self.metric = Gauge(definition.name, definition.help, names, registry=registry)

    def _admitted(self, label: str, value: str) -> str:
        values = self._labels[label]
        if not isinstance(values, Names):
            return value if value in values else OTHER
        seen = self._seen[label]
        if value not in seen and len(seen) < values.limit:
            seen.add(value)
        return value if value in seen else OTHER

    def child(self, values: tuple[str, ...]) -> Counter | Gauge | Histogram:
        if not values:
            return self.metric
        known = self._children.get(values)
        if known is not None:
            return known
        admitted = tuple(self._admitted(label, value) for label, value in zip(self._labels, values, strict=True))
        found = self.metric.labels(*admitted)
        if admitted == values:  # so that this table is as bounded as the label values are
            self._children[values] = found
        return found

    def clear(self) -> None:
        self.metric.clear()
        self._children.clear()
        for seen in self._seen.values():
            seen.clear()


class _Board:
    """All families; label values are given in the order of the definition."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._families = {name: _Family(definition, registry) for name, definition in _DEFINITIONS.items()}

    def add(self, name: str, *labels: str, amount: float = 1) -> None:
        child = self._families[name].child(labels)
        assert isinstance(child, Counter)
        child.inc(amount)

    def set(self, name: str, *labels: str, value: float) -> None:
        child = self._families[name].child(labels)
        assert isinstance(child, Gauge)
        child.set(value)

    def observe(self, name: str, *labels: str, seconds: float) -> None:
        child = self._families[name].child(labels)
        assert isinstance(child, Histogram)
        child.observe(seconds)

    def clear(self, name: str) -> None:
        self._families[name].clear()


def _code_class(code: str) -> str:
    """An HTTP status as a label: the ones a reader looks for by themselves, the rest by hundreds."""
    if code in ("404", "409", "429"):
        return code
    return f"{code[0]}xx" if len(code) == 3 and code.isdigit() and code[0] in "245" else code


class WorkflowMetrics:
    """The shell's series (wfe_controller.workflows.instruments.WorkflowInstruments)."""

    def __init__(self, board: _Board) -> None:
        self._board = board
        for phase in PHASES:
            board.set("workflowexecution_objects", phase, value=0)
        self.waiting({})
        self.targets(held=0, blocked=0, backoff=0, exhausted=0)

    def started(self, engine: str) -> None:
        if engine == "tekton":
            self._board.add("workflowexecution_pipelinerun_creation_total")

    def finished(self, outcome: str, engine: str, seconds: float | None) -> None:
        self._board.add("workflowexecution_total", outcome, engine)
        if seconds is not None:
            self._board.observe("workflowexecution_duration_seconds", outcome, seconds=max(0.0, seconds))

    def failed(self, reason: str, was_execution_failure: bool) -> None:
        self._board.add("workflowexecution_failures_total", reason, _flag(was_execution_failure))

    def skipped(self, reason: str) -> None:
        self._board.add("workflowexecution_skip_total", reason)
        if reason in ("ExhaustedRetries", "PreviousExecutionFailed"):
            self._board.add("workflowexecution_backoff_skip_total", reason)

    def transition(self, from_: str, to: str) -> None:
        self._board.add("workflowexecution_phase_transitions_total", to)

    def phase_lasted(self, phase: str, seconds: float) -> None:
        self._board.observe("workflowexecution_phase_duration_seconds", phase, seconds=seconds)

    def illegal_transition(self) -> None:
        self._board.add("workflowexecution_illegal_transitions_total")

    def status_conflict(self) -> None:
        self._board.add("workflowexecution_status_conflicts_total")

    def status_truncated(self) -> None:
        self._board.add("workflowexecution_status_truncated_total")

    def lock_conflict(self) -> None:
        self._board.add("workflowexecution_lock_conflicts_total")

    def lock_waited(self, seconds: float) -> None:
        self._board.observe("workflowexecution_lock_wait_seconds", seconds=seconds)

    def start_latency(self, seconds: float) -> None:
        self._board.observe("workflowexecution_start_latency_seconds", seconds=seconds)

    def ran(self, seconds: float) -> None:
        self._board.observe("workflowexecution_run_seconds", seconds=seconds)

    def targets(self, *, held: int, blocked: int, backoff: int, exhausted: int) -> None:
        counts = {"held": held, "blocked": blocked, "backoff": backoff, "exhausted": exhausted}
        for state, count in counts.items():
            self._board.set("workflowexecution_targets", state, value=count)

    def objects(self, by_phase: Mapping[str, int]) -> None:
        self._replace("workflowexecution_objects", by_phase)

    def waiting(self, by_reason: Mapping[str, int]) -> None:
        self._replace("workflowexecution_waiting", by_reason)

    def _replace(self, name: str, counts: Mapping[str, int]) -> None:
        ((_, values),) = _DEFINITIONS[name].labels.items()
        assert isinstance(values, frozenset)
        for value in values:
            self._board.set(name, value, value=counts.get(value, 0))
        unknown = sum(count for value, count in counts.items() if value not in values)
        self._board.set(name, OTHER, value=unknown)

    def blocked(self, reason: str) -> None:
        self._board.add("workflowexecution_blocks_total", reason)

    def cleared(self, *, verified: bool) -> None:
        self._board.add("workflowexecution_block_clearances_total", _flag(verified))

    def orphan(self, kind: str) -> None:
        self._board.add("workflowexecution_orphans_total", kind)


def _flag(value: bool) -> str:
    return "true" if value else "false"


class Metrics:
    """The runtime's series (wfe_controller.kube.instruments.Instruments) and the page that shows all of them."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, registry: CollectorRegistry | None = None, *, clock: Clock | None = None) -> None:
        self._registry = registry or CollectorRegistry()
        self._clock = clock or RealClock()
        self._board = _Board(self._registry)
        self.workflows = WorkflowMetrics(self._board)
        ProcessCollector(registry=self._registry)
        self._board.set("workflowexecution_build_info", __version__, platform.python_version(), value=1)

    def render(self) -> bytes:
        """The exposition text of everything."""
        return generate_latest(self._registry)

    def config_loaded(self, digest: str) -> None:
        self._board.clear("workflowexecution_config_info")
        self._board.set("workflowexecution_config_info", digest, value=1)

    def config_reloaded(self, result: str) -> None:
        """``result``: applied, unchanged, refused."""
        self._board.add("workflowexecution_config_reloads_total", result)

    # client
    def request(self, verb: str, resource: str, code: str, seconds: float) -> None:
        self._board.add("kubernetes_client_requests_total", verb, resource, _code_class(code))
        # A watch lasts as long as it is open: its length would drown the durations of real requests.
        if verb != "watch":
            self._board.observe("kubernetes_client_request_duration_seconds", verb, seconds=seconds)

    def throttled(self, lane: str, seconds: float) -> None:
        self._board.observe("api_rate_limiter_wait_seconds", lane.lower(), seconds=seconds)

    def gate_refused(self) -> None:
        self._board.add("kubernetes_client_write_gate_refused_total")

    # caches
    def listed(self, resource: str, items: int, seconds: float) -> None:
        self._board.add("informer_lists_total", resource)
        self._board.set("informer_list_seconds", resource, value=seconds)

    def watch_started(self, resource: str) -> None:
        self._board.add("informer_watches_total", resource)

    def watch_ended(self, resource: str, reason: str) -> None:
        self._board.add("informer_watch_ends_total", resource, reason)
        self._board.add("workflowexecution_watch_reconnects_total", resource)

    def event(self, resource: str, kind: str) -> None:
        self._board.add("informer_events_total", resource, kind)

    def objects(self, resource: str, count: int) -> None:
        self._board.set("informer_objects", resource, value=count)

    # queue and workers
    def added(self, queue: str) -> None:
        self._board.add("workqueue_adds_total", queue)

    def depth(self, queue: str, depth: int) -> None:
        self._board.set("workqueue_depth", queue, value=depth)

    def latency(self, queue: str, seconds: float) -> None:
        self._board.observe("workqueue_queue_duration_seconds", queue, seconds=seconds)

    def work(self, queue: str, seconds: float) -> None:
        self._board.observe("workqueue_work_duration_seconds", queue, seconds=seconds)

    def retried(self, queue: str) -> None:
        self._board.add("workqueue_retries_total", queue)

    def unfinished(self, queue: str, seconds: float, longest: float) -> None:
        self._board.set("workqueue_unfinished_work_seconds", queue, value=seconds)
        self._board.set("workqueue_longest_running_processor_seconds", queue, value=longest)

    def reconciled(self, controller: str, outcome: str, seconds: float) -> None:
        self._board.add("controller_reconcile_total", controller, outcome)
        self._board.observe("controller_reconcile_seconds", controller, seconds=seconds)

    # election, events, process
    def leading(self, is_leader: bool) -> None:
        self._board.set("leader_election_master_status", value=int(is_leader))

    def transition(self) -> None:
        self._board.add("leader_election_transitions_total")

    def renewed(self, seconds: float) -> None:
        self._board.observe("leader_election_renew_seconds", seconds=seconds)
        self._board.set("leader_election_last_contact_timestamp_seconds", value=self._clock.now().timestamp())

    def sent(self, outcome: str) -> None:
        self._board.add("kubernetes_events_total", outcome)

    def loop_lag(self, seconds: float) -> None:
        self._board.observe("event_loop_lag_seconds", seconds=seconds)
