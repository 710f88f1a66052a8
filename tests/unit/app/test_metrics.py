"""app/metrics: the names people have dashboards for, and a number of series that nobody can blow up."""

from __future__ import annotations

import math
import random
import re

import pytest

from wfe_controller.app.metric_names import Definition, Kind, Names, metrics_table
from wfe_controller.app.metrics import Metrics
from wfe_controller.kube.clock import LoopClock
from wfe_controller.kube.instruments import Instruments
from wfe_controller.workflows.instruments import WorkflowInstruments

SERIES = re.compile(r"^([a-z_]+)(\{(.*)\})? (\S+)$")


def series(metrics: Metrics) -> dict[str, float]:
    found = {}
    for line in metrics.render().decode().splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            found[name] = float(value)
    return found


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def test_the_names_and_labels_of_t8_are_exact(metrics: Metrics) -> None:
    """T-8 of v3.7 as SPEC 8 and 12 amend it: outcomes spelt as the phases, targets by state. (T70, T86, BR-WE-008)"""
    shell: WorkflowInstruments = metrics.workflows
    shell.finished("Completed", "tekton", 12.0)
    shell.finished("Failed", "tekton", None)
    shell.started("tekton")
    shell.skipped("ExhaustedRetries")
    shell.skipped("ResourceBusy")
    shell.targets(held=1, blocked=2, backoff=3, exhausted=4)
    now = series(metrics)
    assert now['workflowexecution_total{engine="tekton",outcome="Completed"}'] == 1
    assert now['workflowexecution_total{engine="tekton",outcome="Failed"}'] == 1
    assert now['workflowexecution_duration_seconds_bucket{le="20.0",outcome="Completed"}'] == 1
    assert now['workflowexecution_duration_seconds_bucket{le="10.0",outcome="Completed"}'] == 0
    assert now["workflowexecution_pipelinerun_creation_total"] == 1
    assert now['workflowexecution_skip_total{reason="ResourceBusy"}'] == 1
    assert now['workflowexecution_skip_total{reason="ExhaustedRetries"}'] == 1
    assert now['workflowexecution_backoff_skip_total{reason="ExhaustedRetries"}'] == 1
    assert 'workflowexecution_backoff_skip_total{reason="ResourceBusy"}' not in now
    states = {
        state: now[f'workflowexecution_targets{{state="{state}"}}']
        for state in ("held", "blocked", "backoff", "exhausted")
    }
    assert states == {"held": 1, "blocked": 2, "backoff": 3, "exhausted": 4}  # fmt: skip


def test_a_run_that_never_started_has_no_duration(metrics: Metrics) -> None:
    """T-8: never a sample of 0 seconds for a missing startTime."""
    metrics.workflows.finished("Failed", "tekton", None)
    assert not [name for name in series(metrics) if name.startswith("workflowexecution_duration_seconds_count")]


def test_durations_reach_to_an_hour() -> None:
    """TH29."""
    (duration,) = [d for d in metrics_table() if d.name == "workflowexecution_duration_seconds"]
    assert duration.buckets == (5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600)


def test_the_runtime_series_have_the_names_every_dashboard_knows(metrics: Metrics) -> None:
    runtime: Instruments = metrics
    runtime.added("workflowexecution")
    runtime.depth("workflowexecution", 3)
    runtime.latency("workflowexecution", 0.2)
    runtime.work("workflowexecution", 0.2)
    runtime.retried("workflowexecution")
    runtime.unfinished("workflowexecution", 5.0, 4.0)
    runtime.reconciled("workflowexecution", "done", 0.1)
    runtime.request("get", "pods", "200", 0.01)
    runtime.request("update", "workflowexecutions", "409", 0.01)
    runtime.request("get", "pods", "timeout", 10)
    runtime.throttled("START", 0.2)
    runtime.gate_refused()
    runtime.listed("pods", 7, 0.5)
    runtime.watch_started("pods")
    runtime.watch_ended("pods", "gone")
    runtime.event("pods", "ADDED")
    runtime.objects("pods", 7)
    runtime.leading(True)
    runtime.transition()
    runtime.sent("created")
    runtime.loop_lag(0.002)
    now = series(metrics)
    for name, value in {
        'workqueue_adds_total{name="workflowexecution"}': 1,
        'workqueue_depth{name="workflowexecution"}': 3,
        'workqueue_queue_duration_seconds_count{name="workflowexecution"}': 1,
        'workqueue_work_duration_seconds_count{name="workflowexecution"}': 1,
        'workqueue_retries_total{name="workflowexecution"}': 1,
        'workqueue_unfinished_work_seconds{name="workflowexecution"}': 5,
        'workqueue_longest_running_processor_seconds{name="workflowexecution"}': 4,
        'controller_reconcile_total{controller="workflowexecution",outcome="done"}': 1,
        'kubernetes_client_requests_total{code="2xx",resource="pods",verb="get"}': 1,
        'kubernetes_client_requests_total{code="409",resource="workflowexecutions",verb="update"}': 1,
        'kubernetes_client_requests_total{code="timeout",resource="pods",verb="get"}': 1,
        'api_rate_limiter_wait_seconds_count{lane="start"}': 1,
        "kubernetes_client_write_gate_refused_total": 1,
        'informer_lists_total{resource="pods"}': 1,
        'informer_watch_ends_total{reason="gone",resource="pods"}': 1,
        'workflowexecution_watch_reconnects_total{kind="pods"}': 1,
        'informer_events_total{resource="pods",type="ADDED"}': 1,
        'informer_objects{resource="pods"}': 7,
        "leader_election_master_status": 1,
        "leader_election_transitions_total": 1,
        'kubernetes_events_total{outcome="created"}': 1,
        "event_loop_lag_seconds_count": 1,
    }.items():
        assert now[name] == value, name


def test_the_shells_other_events_are_counted_each_in_its_own_series(metrics: Metrics) -> None:
    shell = metrics.workflows
    shell.failed("TaskFailed", True)
    shell.failed("ConfigurationError", False)
    shell.transition("Pending", "Running")
    shell.phase_lasted("Running", 3)
    shell.illegal_transition()
    shell.status_conflict()
    shell.status_truncated()
    shell.lock_conflict()
    shell.lock_waited(0.2)
    shell.start_latency(2)
    shell.ran(30)
    shell.blocked("ExecutionFailed")
    shell.cleared(verified=True)
    shell.orphan("pipelineruns")
    shell.started("steps")
    now = series(metrics)
    for name in (
        'workflowexecution_failures_total{execution="true",reason="TaskFailed"}',
        'workflowexecution_failures_total{execution="false",reason="ConfigurationError"}',
        'workflowexecution_phase_transitions_total{phase="Running"}',
        'workflowexecution_phase_duration_seconds_count{phase="Running"}',
        "workflowexecution_illegal_transitions_total",
        "workflowexecution_status_conflicts_total",
        "workflowexecution_status_truncated_total",
        "workflowexecution_lock_conflicts_total",
        "workflowexecution_lock_wait_seconds_count",
        "workflowexecution_start_latency_seconds_count",
        "workflowexecution_run_seconds_count",
        'workflowexecution_blocks_total{reason="ExecutionFailed"}',
        'workflowexecution_block_clearances_total{verified="true"}',
        'workflowexecution_orphans_total{kind="pipelineruns"}',
    ):
        assert now[name] == 1, name
    assert now["workflowexecution_pipelinerun_creation_total"] == 0, "a run of the other engine is no PipelineRun"


@pytest.mark.looptime
async def test_the_last_renewal_is_a_point_in_time() -> None:
    clock = LoopClock()
    metrics = Metrics(clock=clock)
    assert series(metrics)["leader_election_last_contact_timestamp_seconds"] == 0
    metrics.renewed(0.02)
    assert series(metrics)["leader_election_last_contact_timestamp_seconds"] == clock.start.timestamp()


def test_gauges_that_replace_a_whole_picture_forget_what_is_gone(metrics: Metrics) -> None:
    metrics.workflows.objects({"Running": 3, "Pending": 1})
    metrics.workflows.objects({"Running": 1, "Dreaming": 2})
    metrics.workflows.waiting({"Paused": 1})
    now = series(metrics)
    assert now['workflowexecution_objects{phase="Running"}'] == 1
    assert now['workflowexecution_objects{phase="Pending"}'] == 0
    assert now['workflowexecution_objects{phase="other"}'] == 2
    assert now['workflowexecution_waiting{reason="Paused"}'] == 1


def test_only_the_active_config_hash_is_exported(metrics: Metrics) -> None:
    for digest in ("a", "b", "c"):
        metrics.config_loaded(digest)
    assert [name for name in series(metrics) if "config_info" in name] == ['workflowexecution_config_info{hash="c"}']


def test_a_hundred_thousand_random_names_stay_below_2000_series_and_1_mib(metrics: Metrics) -> None:
    """P:O1, SPEC 8, TH29: text of users and of other programs never becomes a label."""
    rng = random.Random(1)
    for _ in range(100_000):
        a, b, c = (f"n{rng.getrandbits(48):x}" for _ in range(3))
        match rng.randrange(12):
            case 0:
                metrics.workflows.finished(a, b, rng.random() * 5000)
            case 1:
                metrics.workflows.failed(a, rng.random() < 0.5)
            case 2:
                metrics.workflows.skipped(a)
            case 3:
                metrics.workflows.transition(a, b)
            case 4:
                metrics.workflows.phase_lasted(a, 1.0)
            case 5:
                metrics.workflows.orphan(a)
            case 6:
                metrics.request(a, b, c, 0.1)
            case 7:
                metrics.event(a, b)
            case 8:
                metrics.added(a)
            case 9:
                metrics.reconciled(a, b, 0.1)
            case 10:
                metrics.watch_ended(a, b)
            case _:
                metrics.throttled(a, 0.1)
    text = metrics.render()
    assert len(series(metrics)) <= 2000
    assert len(text) <= 1024 * 1024
    assert b'outcome="other"' in text


def test_even_every_combination_of_the_closed_sets_is_below_2000_series() -> None:
    """The bound holds by construction: the table's worst case plus the process collector's own lines."""
    assert sum(most_series(definition) for definition in metrics_table()) + 8 <= 2000


def most_series(family: Definition) -> int:
    """Label values plus "other" for each label, times the lines of a histogram."""
    children = math.prod(
        (values.limit if isinstance(values, Names) else len(values)) + 1 for values in family.labels.values()
    )
    return children * (len(family.buckets) + 3 if family.kind is Kind.HISTOGRAM else 1)


def test_the_table_is_what_is_exported(metrics: Metrics) -> None:
    """The docs are printed from the table: same names, types and helps as the page, none twice."""
    page = metrics.render().decode()
    names = [definition.name for definition in metrics_table()]
    assert len(set(names)) == len(names)
    for definition in metrics_table():
        assert f"# TYPE {definition.name} {definition.kind}" in page
        assert f"# HELP {definition.name} {definition.help}" in page
        assert (definition.kind is Kind.COUNTER) == definition.name.endswith("_total")
    ours = {line.split(" ")[2] for line in page.splitlines() if line.startswith("# TYPE ")}
    assert {name for name in ours if not name.startswith("process_")} == set(names)
