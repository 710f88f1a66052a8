"""The bench's arithmetic: a wrong figure is worse than none."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from hack.bench import audit
from hack.bench.embedded import TARGETS, embedded
from hack.bench.report import flat, table
from hack.bench.subject import loop_lag, per_label
from hack.bench.timeline import Moments, Timeline, milliseconds, quantile

USER = "system:serviceaccount:kubernaut-system:controller"


def line(verb: str, resource: str, at: int, *, subresource: str = "", user: str = USER, code: int = 200) -> str:
    return json.dumps(
        {
            "verb": verb,
            "user": {"username": user},
            "requestReceivedTimestamp": f"2026-11-22T10:00:{at:02}.000000Z",
            "objectRef": {"resource": resource, "subresource": subresource},
            "responseStatus": {"code": code},
        }
    )


def test_requests_are_counted_by_user_time_and_outcome_in_rotated_files_too(tmp_path: Path) -> None:
    (tmp_path / "audit-2026-11-22T10-00-05.log").write_text(
        line("create", "pipelineruns", 1) + "\n" + line("create", "pipelineruns", 0) + "\n"
    )
    log = tmp_path / "audit.log"
    wanted = [
        line("update", "workflowexecutions", 2, subresource="status"),
        line("delete", "pipelineruns", 3, code=409),
        line("create", "pipelineruns", 3, user="somebody"),
        line("create", "events", 4),
        line("update", "leases", 4),
        line("list", "pods", 4),
        line("create", "pipelineruns", 9),
    ]
    log.write_text("\n".join(wanted) + "\n" + wanted[0][:20])  # the last line is still being written
    counted = audit.count(log, USER, "2026-11-22T10:00:01.000000Z", "2026-11-22T10:00:05.000000Z")
    assert counted == {
        "create pipelineruns": 1,
        "update workflowexecutions/status": 1,
        "delete pipelineruns !409": 1,
        "create events": 1,
        "update leases": 1,
        "list pods": 1,
    }
    assert {what for what in counted if audit.is_write(what)} == {
        "create pipelineruns",
        "update workflowexecutions/status",
    }
    assert "update leases" not in {what for what in counted if audit.is_request(what)}


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)])
def test_quantiles_are_values_that_were_seen(share: float, value: int) -> None:
    assert quantile([float(n) for n in range(1, 101)], share) == value
    assert quantile([7.0], share) == 7.0
    assert math.isnan(quantile([], share))


def test_intervals_are_of_those_that_have_both_ends() -> None:
    timeline = Timeline(
        {"a": Moments(asked=1.0, ended=3.0), "b": Moments(asked=2.0), "c": Moments(asked=2.0, ended=9.0)}
    )
    assert timeline.between("asked", "ended") == [2.0, 7.0]
    assert timeline.span("asked", "ended") == 8.0
    assert timeline.span("run_gone", "ended") == 0.0
    assert milliseconds(timeline.between("asked", "ended"))["p95"] == 7000.0


def test_the_first_sight_counts() -> None:
    timeline = Timeline()
    timeline.mark("a", "ended")
    first = timeline.of("a").ended
    timeline.mark("a", "ended")
    assert timeline.of("a").ended == first > 0


def test_loop_lag_is_bounded_by_what_happened_between_the_scrapes() -> None:
    def scrape(*counts: int) -> dict[str, float]:
        bounds = ("0.001", "0.01", "0.1", "+Inf")
        return {f'event_loop_lag_seconds_bucket{{le="{le}"}}': float(n) for le, n in zip(bounds, counts, strict=True)}

    assert loop_lag(scrape(0, 0, 5, 5), scrape(990, 1000, 1005, 1005)) == {"p99": 1.0, "max": 10.0}
    assert math.isnan(loop_lag({}, {})["p99"])


def test_counters_are_told_by_their_labels_and_only_if_they_grew() -> None:
    before = {'x_total{controller="wfe",result="done"}': 10.0, 'x_total{controller="wfe",result="retry"}': 3.0}
    after = {**before, 'x_total{controller="wfe",result="done"}': 30.0, 'xy_total{a="b"}': 5.0}
    assert per_label(before, after, "x_total", 10) == {"wfe done": 2.0}


def test_the_table_shows_median_and_spread() -> None:
    runs = [{"cpu": {"ms": value}, "client": "default"} for value in (3.0, 1.0, 2.0)]
    assert list(table("burst", runs)) == ["burst (3 runs)", "  cpu.ms  2  (1 to 3)", "  client  default"]


def test_figures_of_a_machine_that_others_used_say_so() -> None:
    runs = [{"load": {"foreign_cores": cores}} for cores in (0.01, 1.7)]
    assert "up to 1.7 cores" in list(table("x", runs))[-1]
    assert len(list(table("x", runs[:1]))) == 2


@pytest.mark.parametrize(
    ("relation", "values", "said"),
    [(">=", (4.0, 2.0), "met"), (">=", (2.9, 3.0), "MISSED"), ("<", (2.9, 3.0), "met"), ("<", (3.0, 3.0), "MISSED")],
)
def test_a_target_is_held_against_the_median(relation: str, values: tuple[float, ...], said: str) -> None:
    lines = list(
        table("x", [{"a": {"rate": v}, "b": 1} for v in values], {"a.rate": (relation, 3.0), "gone": ("<", 1)})
    )
    assert lines[1].endswith(f"target {relation} 3: {said}")
    assert lines[2] == "  b       1"


async def test_the_embedded_scenario_loses_no_event_and_has_a_figure_for_every_target() -> None:
    """The figures themselves are nobody's business here: they depend on the machine."""
    found = await embedded("workflowexecution", 60)
    figures = dict(flat(found))
    assert set(TARGETS) <= set(figures)
    for load in ("100_watchers_burst", "100_watchers_50_a_s"):
        assert figures[f"{load}.events_missing"] == 0
        assert figures[f"{load}.commit_to_watcher_ms.p50"] > 0
    # Each object is listed: those of the four loads and those that were watched.
    assert figures["list_all_https.objects"] == 4 * 12 + 9 + 3
