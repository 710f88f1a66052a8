"""The crash observer's second witness can fail: each rule is broken once in an otherwise good log."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hack.crash.auditlog import AuditLog, Request, compare, parse
from hack.crash.chronicle import EXECUTIONS, HASH, LOCKS, OWNER, PENDING, RUNS, Object, Seen

US = "system:serviceaccount:lane0-system:workflowexecution-controller"
START = [
    {"op": "test", "path": "/metadata/uid", "value": "run-a"},
    {"op": "test", "path": "/spec/status", "value": PENDING},
    {"op": "remove", "path": "/spec/status"},
]
CANCEL = [
    {"op": "test", "path": "/metadata/uid", "value": "run-a"},
    {"op": "add", "path": "/spec/status", "value": "C"},
]


def seen(revision: int, kind: str, name: str, uid: str, asked: str | None = None) -> Seen:
    meta: Object = {"name": name, "namespace": "ns", "uid": uid, "labels": {OWNER: "a", HASH: "t"}}
    return Seen(revision, kind, "ADDED", {"metadata": meta, "spec": {"status": asked} if asked else {}})


WATCHED = [
    seen(1, EXECUTIONS, "w", "a"),
    seen(2, LOCKS, "wfe-t", "lock"),
    seen(3, LOCKS, "wfe-t", "lock"),
    seen(4, RUNS, "wfe-t", "run-a", PENDING),
    seen(5, EXECUTIONS, "w", "a"),
    seen(6, RUNS, "wfe-t", "run-a"),
    seen(7, LOCKS, "wfe-t", "lock"),
]


def ask(verb: str, kind: str, version: int = 0, code: int = 200, body: Any = None) -> Request:
    return Request(verb, kind, "ns", "w" if kind == EXECUTIONS else "wfe-t", code, US, version, body)


LOG = [
    ask("create", LOCKS, code=201),
    ask("update", LOCKS, 2),
    ask("create", RUNS, code=201),
    ask("update", EXECUTIONS, 1),
    ask("patch", RUNS, body=START),
    ask("patch", RUNS, body=START, code=422),
    ask("patch", RUNS, body=CANCEL),
    ask("update", LOCKS, 3),
    ask("update", LOCKS, 3, code=409),
]


def test_two_witnesses_that_agree() -> None:
    assert compare(WATCHED, LOG) == []


@pytest.mark.parametrize(
    ("watched", "log", "said"),
    [
        pytest.param(WATCHED, [*LOG, ask("patch", RUNS, body=START)], "2 committed starts of run run-a", id="twice"),
        pytest.param(
            [*WATCHED, seen(8, RUNS, "wfe-t", "run-b", PENDING), seen(9, RUNS, "wfe-t", "run-b")],
            [
                *LOG,
                ask("create", RUNS, code=201),
                ask("patch", RUNS, body=[{**START[0], "value": "run-b"}, *START[1:]]),
            ],
            "2 committed starts for a",
            id="two-runs-of-one-execution",
        ),
        pytest.param(WATCHED[:5] + WATCHED[6:], LOG, "start of run run-a, which the watches", id="start-unseen"),
        pytest.param(WATCHED, [*LOG[:4], *LOG[5:]], "was started, and the audit log shows nobody", id="by-nobody"),
        pytest.param(
            WATCHED, [*LOG[:4], replace(LOG[4], user="admin"), *LOG[5:]], "a start by admin", id="by-somebody-else"
        ),
        pytest.param(WATCHED, [*LOG, ask("create", RUNS, code=201)], "2 created pipelineruns", id="run-unseen"),
        pytest.param([], LOG, "1 created targetlocks (0 unknown), the watches 0", id="nothing-seen"),
        pytest.param(WATCHED, LOG[1:], "0 created targetlocks (0 unknown), the watches 1", id="lock-of-nobody"),
        pytest.param(WATCHED, [*LOG, ask("update", LOCKS, 3)], "2 committed writes on version 3", id="swapped-twice"),
        pytest.param(WATCHED[:6], LOG, "of which nothing came by the watches", id="release-unseen"),
        pytest.param(WATCHED[:4] + WATCHED[5:], LOG, "of which nothing came", id="status-unseen"),
        pytest.param([WATCHED[0], *WATCHED[2:]], LOG, "on version 2 of targetlocks", id="version-unseen"),
    ],
)
def test_each_disagreement_is_told(watched: list[Seen], log: list[Request], said: str) -> None:
    """Issue 4, point 5: the observer judges by its own watches AND the audit log."""
    assert any(said in what for what in compare(watched, log))


def test_what_tekton_writes_twice_is_its_own_affair() -> None:
    """It updated a run with what was there already, and then its status on the same version: both were answered 200."""
    twice = replace(ask("update", RUNS, 4), user="system:serviceaccount:tekton-pipelines:tekton-pipelines-controller")
    assert compare(WATCHED, [*LOG, twice, twice]) == []


def test_an_answer_that_nobody_knows_may_have_been_a_commit() -> None:
    """The client was killed while the server wrote: it says 500, or nothing, and has done it all the same."""
    lost = [ask("create", RUNS, code=504), ask("patch", RUNS, body=START, code=0)]
    assert compare(WATCHED, [LOG[0], LOG[1], LOG[3], LOG[7], *lost]) == []
    refused = [ask("create", RUNS, code=201), ask("patch", RUNS, body=START, code=403)]
    assert compare(WATCHED, [LOG[0], LOG[1], LOG[3], LOG[7], *refused]) != []


def line(code: int = 200, uri: str = "/x", verb: str = "update") -> Object:
    return {
        "verb": verb,
        "requestURI": uri,
        "user": {"username": US},
        "objectRef": {"resource": LOCKS, "namespace": "ns", "name": "wfe-t", "resourceVersion": "2"},
        "responseStatus": {"code": code},
    }


def test_only_writes_that_were_meant_are_read() -> None:
    assert parse(line()) == ask("update", LOCKS, 2)
    assert parse(line(verb="get")) is None
    assert parse(line(uri="/x?dryRun=All")) is None
    assert parse({**line(), "objectRef": {"resource": "leases"}}) is None


def test_the_log_is_read_as_it_grows_and_across_its_rotation(tmp_path: Path) -> None:
    """The server renames a log of 100 MB to audit-<time>.log and goes on in a new one; the last line may be half."""
    path, log = tmp_path / "audit.log", AuditLog(tmp_path / "audit.log")
    full = json.dumps(line()) + "\n"
    path.write_text(full + full[:20])
    log.refresh()
    assert len(log.about("t", WATCHED)) == 1
    assert len(log.about("t", [])) == 1, "by its name also when the watches did not show it"
    path.write_text(full * 2)
    log.refresh()
    log.refresh()
    assert len(log.about("t", WATCHED)) == 2
    path.rename(tmp_path / "audit-2026-01-01T00-00-00.000.log")
    path.write_text(full)
    log.refresh()
    assert len(log.about("t", WATCHED)) == 3


def test_a_log_that_is_not_there_is_no_witness(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AuditLog(tmp_path / "audit.log").refresh()
