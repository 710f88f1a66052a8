"""Every metric of the process in one table: name, kind, help, labels with their closed sets.

app/metrics builds its collectors from this table, the documentation prints it, and a test adds up its worst case:
no label ever takes a value from outside its set (unknown = "other"), so the number of series is bounded (P:O1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from wfe_controller.api.phases import TERMINAL, Engine, Phase
from wfe_controller.api.reasons import BlockReason, FailureReason, SkipReason, WaitReason

OTHER = "other"


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Names:
    """A label whose values are names in our code (queues, controllers): the first ``limit`` seen, then "other"."""

    limit: int


Values = frozenset[str] | Names


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric family. ``buckets`` in seconds, histograms only."""

    name: str
    kind: Kind
    help: str
    labels: dict[str, Values] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()


def _set(*values: str) -> frozenset[str]:
    return frozenset(values)


RESOURCES = _set(
    "workflowexecutions",
    "targetlocks",
    "pipelineruns",
    "taskruns",
    "pods",
    "events",
    "leases",
    "namespaces",
    "serviceaccounts",
    "configmaps",
    "customresourcedefinitions",
)
VERBS = _set("get", "list", "watch", "create", "update", "patch", "delete")
CODES = _set("2xx", "404", "409", "429", "4xx", "5xx", "error", "timeout")
LANES = _set("lease", "terminal", "release", "progress", "start", "read")
QUEUES = Names(4)
PHASES = _set(*(phase.value for phase in Phase))
OUTCOMES = _set(*(phase.value for phase in TERMINAL if phase is not Phase.SKIPPED))
ENGINES = _set(*(engine.value for engine in Engine))

# 5 s doubling, as the first release had it, then on to the hour that pipelines may take.
RUN_BUCKETS = (5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600)
WAIT_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 1800)
FAST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LAG_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)

_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_W = "workflowexecution_"

METRICS: tuple[Definition, ...] = (
    # Workflows
    Definition(
        _W + "total",
        _C,
        "WorkflowExecutions that ended, by terminal phase; skipped ones are in workflowexecution_skip_total.",
        {"outcome": OUTCOMES, "engine": ENGINES},
    ),
    Definition(
        _W + "duration_seconds",
        _H,
        "From startTime to completionTime; nothing is observed for one that never started.",
        {"outcome": OUTCOMES},
        RUN_BUCKETS,
    ),
    Definition(
        _W + "failures_total",
        _C,
        "Failures by reason; execution=true: a step may have changed the cluster, and the target is blocked.",
        {"reason": _set(*(r.value for r in FailureReason)), "execution": _set("true", "false")},
    ),
    Definition(_W + "pipelinerun_creation_total", _C, "PipelineRuns created (adopted ones are not counted)."),
    Definition(
        _W + "skip_total",
        _C,
        "WorkflowExecutions that were skipped, by reason.",
        {"reason": _set(*(r.value for r in SkipReason))},
    ),
    Definition(
        _W + "backoff_skip_total",
        _C,
        "The skips that wait for a person: the target is blocked or its retries are exhausted.",
        {"reason": _set(SkipReason.EXHAUSTED_RETRIES.value, SkipReason.PREVIOUS_EXECUTION_FAILED.value)},
    ),
    Definition(
        _W + "targets",
        _G,
        "TargetLocks by state; one lock can be in several.",
        {"state": _set("held", "blocked", "backoff", "exhausted")},
    ),
    Definition(_W + "objects", _G, "WorkflowExecutions that exist, by phase.", {"phase": PHASES}),
    Definition(
        _W + "waiting",
        _G,
        "WorkflowExecutions that wait, by the cause in status.reason.",
        {"reason": _set(*(r.value for r in WaitReason))},
    ),
    Definition(_W + "phase_transitions_total", _C, "Committed changes of phase, by the new phase.", {"phase": PHASES}),
    Definition(
        _W + "phase_duration_seconds", _H, "Time spent in a phase before it was left.", {"phase": PHASES}, WAIT_BUCKETS
    ),
    Definition(_W + "lock_wait_seconds", _H, "From creation to the lock.", {}, WAIT_BUCKETS),
    Definition(_W + "start_latency_seconds", _H, "From the lock to the first step.", {}, WAIT_BUCKETS),
    Definition(_W + "run_seconds", _H, "From the first step until the last pod was gone.", {}, RUN_BUCKETS),
    Definition(_W + "illegal_transitions_total", _C, "Changes of phase that were refused: a defect, report it."),
    Definition(_W + "status_conflicts_total", _C, "Status writes refused because the object had changed meanwhile."),
    Definition(_W + "status_truncated_total", _C, "Status writes that had to be shortened to stay in budget."),
    Definition(_W + "lock_conflicts_total", _C, "Holds that were re-asserted and found in other hands."),
    Definition(
        _W + "blocks_total", _C, "Blocks written on targets.", {"reason": _set(*(r.value for r in BlockReason))}
    ),
    Definition(_W + "block_clearances_total", _C, "Blocks cleared by operators.", {"verified": _set("true", "false")}),
    Definition(
        _W + "orphans_total",
        _C,
        "Things found without a living owner by a sweep.",
        {"kind": _set("pipelineruns", "taskruns", "jobs", "kubernetesexecutions", "pods", "holds")},
    ),
    Definition(
        _W + "watch_reconnects_total", _C, "Watches that ended and had to be opened again.", {"kind": RESOURCES}
    ),
    Definition(
        _W + "config_reloads_total",
        _C,
        "Changes of the config file; result=refused: the old settings stay, see the log.",
        {"result": _set("applied", "unchanged", "refused")},
    ),
    Definition(_W + "config_info", _G, "1, with the hash of the active settings.", {"hash": Names(1)}),
    Definition(_W + "build_info", _G, "1, with the version.", {"version": Names(1), "python": Names(1)}),
    # Work queue, in the names every controller dashboard knows
    Definition("workqueue_adds_total", _C, "Keys added.", {"name": QUEUES}),
    Definition("workqueue_depth", _G, "Keys that wait.", {"name": QUEUES}),
    Definition("workqueue_queue_duration_seconds", _H, "From add to get.", {"name": QUEUES}, FAST_BUCKETS),
    Definition("workqueue_work_duration_seconds", _H, "From get to done.", {"name": QUEUES}, FAST_BUCKETS),
    Definition("workqueue_retries_total", _C, "Keys that came back after an error.", {"name": QUEUES}),
    Definition("workqueue_unfinished_work_seconds", _G, "Sum of the ages of the keys in work.", {"name": QUEUES}),
    Definition("workqueue_longest_running_processor_seconds", _G, "Age of the oldest key in work.", {"name": QUEUES}),
    Definition(
        "controller_reconcile_total",
        _C,
        "Reconciles by outcome.",
        {
            "controller": QUEUES,
            "outcome": _set("done", "requeue_after", "conflict", "stale", "error", "terminal", "timeout"),
        },
    ),
    Definition("controller_reconcile_seconds", _H, "Duration of a reconcile.", {"controller": QUEUES}, FAST_BUCKETS),
    # Caches
    Definition("informer_lists_total", _C, "Complete lists.", {"resource": RESOURCES}),
    Definition("informer_list_seconds", _G, "Duration of the last complete list.", {"resource": RESOURCES}),
    Definition("informer_watches_total", _C, "Watches opened.", {"resource": RESOURCES}),
    Definition(
        "informer_watch_ends_total",
        _C,
        "Watches that ended, by reason; gone and silent are followed by a new list or watch.",
        {"resource": RESOURCES, "reason": _set("closed", "short", "gone", "silent", "error", "throttled")},
    ),
    Definition(
        "informer_events_total",
        _C,
        "Watch events.",
        {"resource": RESOURCES, "type": _set("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "skipped")},
    ),
    Definition("informer_objects", _G, "Objects in the cache.", {"resource": RESOURCES}),
    # API client
    Definition(
        "kubernetes_client_requests_total",
        _C,
        "Requests to the API server.",
        {"verb": VERBS, "resource": RESOURCES, "code": CODES},
    ),
    Definition(
        "kubernetes_client_request_duration_seconds", _H, "Duration of a request.", {"verb": VERBS}, FAST_BUCKETS
    ),
    Definition("api_rate_limiter_wait_seconds", _H, "Wait in the client's own limiter.", {"lane": LANES}, LAG_BUCKETS),
    Definition(
        "kubernetes_client_write_gate_refused_total",
        _C,
        "Writes stopped because this process does not lead (any more).",
    ),
    Definition(
        "kubernetes_events_total",
        _C,
        "Kubernetes Events by what became of them.",
        {"outcome": _set("created", "patched", "dropped", "failed", "suppressed")},
    ),
    # Leadership and process
    Definition("leader_election_master_status", _G, "1 while this process leads."),
    Definition("leader_election_transitions_total", _C, "Changes between leading and not leading."),
    Definition("leader_election_renew_seconds", _H, "Duration of a renewal.", {}, FAST_BUCKETS),
    Definition(
        "leader_election_last_contact_timestamp_seconds", _G, "When the lease was last renewed by us; 0 = never."
    ),
    Definition("event_loop_lag_seconds", _H, "How late the event loop ran a timer.", {}, LAG_BUCKETS),
)


def metrics_table() -> tuple[Definition, ...]:
    """Every family this process can export, in documentation order."""
    return METRICS
