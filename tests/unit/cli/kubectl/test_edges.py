"""What people type and what the world answers: names, kinds, connection flags, servers, rights, and hostile texts."""

from __future__ import annotations

import json
import re
import socket
import ssl
import stat
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from tests.support.explained import (
    NOW,
    OTHER_UID,
    ago,
    blocked,
    condition,
    facts,
    failed,
    held,
    lease,
    lock,
    running,
    wfe,
)
from wfe_controller.api.names import FINALIZER
from wfe_controller.cli.kubectl.doctor import NEEDS, UNCUT, lease_row, rights_rows
from wfe_controller.cli.kubectl.doctor import as_text as as_lines
from wfe_controller.cli.kubectl.explain.decide import explain
from wfe_controller.cli.kubectl.explain.text import as_text
from wfe_controller.cli.kubectl.graph import Graph, Vertex, dot, mermaid, of_facts
from wfe_controller.cli.kubectl.main import behind_the_command, main
from wfe_controller.cli.kubectl.options import OF_EXECUTIONS, Seconds, object_name
from wfe_controller.cli.kubectl.output import APPLIED, as_list, machine, tidied
from wfe_controller.cli.kubectl.reading import lock_of
from wfe_controller.cli.kubectl.retrying import clone, edited_copy
from wfe_controller.cli.kubectl.session import Refusal, Session, refused, unreachable
from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.kubectl.tables import elided
from wfe_controller.cli.kubectl.tree import build, drawn
from wfe_controller.cli.kubectl.views import event_line, executions_table, locks_table, needs_clearing
from wfe_controller.cli.kubectl.watching import over
from wfe_controller.cli.kubectl.words import CommandLine, cells, head, plain, wrapped
from wfe_controller.cli.rbac import users
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.errors import (
    BadRequest,
    ConnectionFailed,
    Forbidden,
    KubeError,
    NotFound,
    RequestTimeout,
    Throttled,
    Unauthorized,
    Unavailable,
)
from wfe_controller.kube.objects import Json

SERVER = "https://10.0.0.1:6443"


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, words, prog_name="kubectl-wfe", env={"KUBECONFIG": "/nowhere/config"})


# -- names and kinds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    ["web", "wfe/web", "workflowexecution/web", "workflowexecutions.kubernaut.ai/web", "WorkflowExecution/web"],
)
def test_a_name_with_its_kind_is_a_name(written: str) -> None:
    """``get -o name`` prints them so, and people pipe them."""
    assert object_name(written, OF_EXECUTIONS) == "web"


@pytest.mark.parametrize("command", ["explain", "tree", "graph", "watch", "pause", "resume", "retry", "get", "cancel"])
@pytest.mark.parametrize("name", ["", "pod/web", "../../secrets", "Web", "a b", "x" * 254, "web/", "a\x1b[2J", "."])
def test_what_cannot_be_a_name_is_wrong_usage(command: str, name: str) -> None:
    """Exit 2 and one line, not a traceback; no request is sent (there is no server here)."""
    said = invoke(command, name, *(["--reason", "x"] if command == "cancel" else []))
    assert said.exit_code == 2
    (line,) = said.stderr.splitlines()
    assert "NAME" in line
    assert line.isprintable()


def test_the_longest_name_is_one() -> None:
    assert object_name("x" * 253, OF_EXECUTIONS) == "x" * 253


@pytest.mark.parametrize(
    "words", [["get", "-n", "a/b"], ["locks", "--controller-namespace", "A"], ["get", "-n", "x" * 64]]
)
def test_what_cannot_be_a_namespace_is_wrong_usage(words: list[str]) -> None:
    said = invoke(*words)
    assert said.exit_code == 2
    assert "is no name of a namespace" in said.stderr


def test_a_lock_by_the_name_that_locks_prints() -> None:
    assert lock_of("targetlock.kubernaut.ai/wfe-0123456789abcdef") == "wfe-0123456789abcdef"
    assert lock_of("tlock/wfe-0123456789abcdef") == "wfe-0123456789abcdef"
    assert lock_of("shop/deploy/web") == lock_of("shop/deployment/web")


def test_a_phase_that_there_is_not_is_wrong_usage() -> None:
    """It would list nothing, as if there were none."""
    said = invoke("get", "--phase", "Runing")
    assert said.exit_code == 2
    assert "'Running'" in said.stderr


@pytest.mark.parametrize(
    ("typed", "meant"), [("list", "get"), ("describe", "explain"), ("unblock", "clear-block"), ("explian", "explain")]
)
def test_a_command_that_there_is_not_names_the_one_that_is_meant(typed: str, meant: str) -> None:
    said = invoke(typed)
    assert said.exit_code == 2
    assert f"did you mean '{meant}'?" in said.stderr


@pytest.mark.parametrize(
    ("typed", "run"),
    [
        (["-n", "shop", "get", "-A"], ["get", "-n", "shop", "-A"]),
        (["-nshop", "get"], ["get", "-nshop"]),
        (
            ["--context=c", "--kubeconfig", "f", "explain", "web"],
            ["explain", "--context=c", "--kubeconfig", "f", "web"],
        ),
        (["get", "-n", "shop"], ["get", "-n", "shop"]),
        (["--help"], ["--help"]),
        (["-n", "shop", "--help"], ["-n", "shop", "--help"]),
        (["-n"], ["-n"]),
        ([], []),
        (["retry", "--dry-run", "web"], ["retry", "--dry-run=server", "web"]),
        (["retry", "--dry-run=client", "web"], ["retry", "--dry-run=client", "web"]),
    ],
)
def test_connection_flags_may_stand_before_the_command(typed: list[str], run: list[str]) -> None:
    assert behind_the_command(typed) == run


@pytest.mark.parametrize(
    ("written", "seconds"), [("90", 90.0), ("1.5", 1.5), ("90s", 90.0), ("1h30m", 5400.0), ("0", 0.0)]
)
def test_durations_as_kubectl_writes_them(written: str, seconds: float) -> None:
    assert Seconds().convert(written, None, None) == seconds


@pytest.mark.parametrize("written", ["-1s", "nan", "inf", "soon", "", "1 h"])
def test_what_is_no_duration(written: str) -> None:
    with pytest.raises(click.BadParameter):
        Seconds().convert(written, None, None)


# -- servers ---------------------------------------------------------------------------------------------------------


class _Wrapped(Exception):
    """As the HTTP library wraps the system's error."""

    def __init__(self, **inner: BaseException) -> None:
        super().__init__("wrapped")
        self.__dict__.update(inner)


def _failed(cause: BaseException) -> ConnectionFailed:
    error = ConnectionFailed("GET /x: broken")
    error.__cause__ = cause
    return error


def _distrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (_failed(_Wrapped(certificate_error=_distrusted())), "may not be the cluster you mean"),
        (_failed(_Wrapped(os_error=ConnectionRefusedError(111, "refused"))), f"nobody listens at {SERVER}"),
        (_failed(_Wrapped(os_error=socket.gaierror(-2, "Name or service not known"))), "cannot be resolved"),
        (_failed(_Wrapped()), f"{SERVER} does not answer: GET /x: broken"),
        (RequestTimeout("GET /x: no answer within 10 s"), f"{SERVER} does not answer"),
    ],
    ids=["certificate", "refused", "dns", "other", "timeout"],
)
def test_why_no_answer_came(error: KubeError, said: str) -> None:
    assert said in unreachable(error, SERVER)


@pytest.mark.parametrize(
    ("error", "said", "next_"),
    [
        (Forbidden(403, "Forbidden", "you may not"), "refuses: you may not", "kubectl wfe doctor -n shop"),
        (Unauthorized(401, "Unauthorized", "Unauthorized"), "log in again", "kubectl auth whoami"),
        (
            NotFound(404, "", "404 page not found"),
            "not the cluster you mean, or the CRDs",
            "kubectl wfe doctor -n shop",
        ),
        (NotFound(404, "NotFound", "gone", details={"name": "x", "kind": "y"}), "went away", "kubectl wfe get -n shop"),
        (Unavailable(503, "ServiceUnavailable", "x"), "cannot answer now", "kubectl get --raw '/readyz?verbose'"),
        (Throttled(429, "TooManyRequests", "x"), "cannot answer now", "kubectl get --raw '/readyz?verbose'"),
        (_failed(_Wrapped()), "does not answer", "kubectl cluster-info"),
        (BadRequest(400, "BadRequest", "x"), "refuses: 400 BadRequest: x", "kubectl wfe doctor -n shop"),
    ],
)
def test_every_refusal_of_the_server_has_a_reason_and_a_next_step(error: KubeError, said: str, next_: str) -> None:
    class Connection:
        server = SERVER

    class Connected:
        transport = Connection()

    session = Session(cast(Api, Connected()), cast(Clock, None), "shop", "kubernaut-system", "w", CommandLine())
    refusal = refused(error, session)
    assert said in refusal.reason
    assert refusal.next.startswith(next_)


# -- what others wrote -----------------------------------------------------------------------------------------------

EVIL = "x\x1b[2J\x9b31m\x07\u202egnp\r\n"


def _poisoned(value: Any) -> Any:
    """Every string of an object, hostile; keys, times and what says which kind it is stay."""
    if isinstance(value, dict):
        kept = ("apiVersion", "kind", "phase", "type", "uid", "lastTransitionTime", "status")
        return {k: v if k in kept and isinstance(v, str) else _poisoned(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_poisoned(item) for item in value]
    return f"{value}{EVIL}" if isinstance(value, str) and not re.fullmatch(r"\d{4}-.*Z", value) else value


POISONED = [
    _poisoned(running()),
    _poisoned(failed(details={"evidence": {"pod": "p", "container": "c", "logTail": "a\nb"}})),
    _poisoned(
        wfe("Pending", reason="Paused", annotations={"kubernaut.ai/pause": "true", "kubernaut.ai/pause-by": "al"})
    ),
    _poisoned(wfe("Pending", reason="LockUnknown", message="m")),
    _poisoned(wfe(EVIL)),
    _poisoned(running(deleting=5, finalizers=["x/y"])),
    _poisoned(running(conditions=[condition("Cancelling", "True", "Requested", "m")])),
]


@pytest.mark.parametrize("obj", POISONED)
@pytest.mark.parametrize("cut", [True, False])
def test_no_text_of_others_plays_with_the_terminal(obj: Json, cut: bool) -> None:
    """Escape sequences, C1 codes, marks of direction; in names, targets, messages, reasons, annotations, log lines."""
    style = Style(cut=cut)
    known = replace(facts(obj, lock=_poisoned(lock(**blocked(name="o", uid=OTHER_UID)))))
    shown = [
        as_text(explain(known), style),
        drawn(build(known), style),
        event_line(obj, NOW, style, namespaces=True),
        executions_table([obj], NOW, style, wide=not cut, namespaces=True),
        locks_table([_poisoned(lock(**held()))], NOW, style, wide=True),
        mermaid(of_facts(known)),
        dot(of_facts(known)),
    ]
    for text in shown:
        assert all(line.isprintable() for line in text.split("\n"))


def test_forms_for_programs_keep_every_character_and_show_none_that_plays() -> None:
    """Escaped, so that a terminal is safe, and what a parser reads is what was there."""
    value = {"message": EVIL, "wide": "界", "emoji": "🚀", "\u202ekey": ["\x7f"]}
    for form, parse in (("json", json.loads), ("yaml", yaml.safe_load)):
        said = machine(value, form)
        assert all(line.isprintable() for line in said.split("\n")), form
        assert parse(said) == value


@pytest.mark.parametrize("phase", ["Running", "界" * 40, "x" * 300])
@pytest.mark.parametrize("name", ["web", "界" * 30, "n" * 253])
def test_80_columns_also_of_wide_characters(phase: str, name: str) -> None:
    obj = wfe(phase, name=name, message="メモリ不足" * 40, reason="理由" * 30, spec={"targetResource": "店" * 60})
    style = Style()
    known = facts(obj, lock=lock(**blocked(name="名前" * 50)))
    shown = [
        executions_table([obj, running()], NOW, style, wide=False, namespaces=True),
        locks_table([lock(**blocked(name="名前" * 50))], NOW, style, wide=False),
        drawn(build(known), style),
        event_line(obj, NOW, style),
    ]
    if len(name) < 100:
        shown.append(as_text(explain(known), style))
    for text in shown:
        assert max(map(cells, text.split("\n"))) <= 80, text


def test_columns_stand_below_their_titles_behind_wide_characters() -> None:
    text = executions_table(
        [wfe("Running", spec={"targetResource": "店/店/店"}), running()], NOW, Style(), wide=False, namespaces=False
    )
    title, *rows = text.split("\n")
    at = title.index("REASON")
    for row in rows:
        assert cells(row[: row.rindex("-")]) == at


def test_widths() -> None:
    assert (cells("abc"), cells("界"), cells("é"), cells("e\u0301"), cells("🚀")) == (3, 2, 1, 1, 2)
    assert head("界界界", 5) == "界界"
    assert elided("界界界界", 5, Style()) == "界…界"
    assert wrapped("aa bb cc", 5, cut_words=True) == ["aa bb", "cc"]
    assert wrapped("界界界界", 4, cut_words=True) == ["界界", "界界"]
    assert wrapped("abcdefgh i", 4, cut_words=False) == ["abcdefgh", "i"]
    assert wrapped("", 4, cut_words=True) == [""]
    assert plain("a\x1bb") == "a?b"
    assert unicodedata.category("\u202e") == "Cf"


# -- locks, and the end of a watch -----------------------------------------------------------------------------------


def test_an_exhausted_streak_is_not_free() -> None:
    """Only clear-block lets the workflow run there again: the list that an operator works off has to hold it."""
    streak = lock(
        workflows=[{"workflowId": "restart", "consecutiveFailures": 5, "lastFailureAt": ago(900)}],
        lastExecution={
            "uid": OTHER_UID,
            "name": "earlier",
            "workflowId": "restart",
            "outcome": "Failed",
            "completedAt": ago(900),
            "releasedAt": ago(900),
        },
    )
    row = locks_table([streak], NOW, Style(), wide=False).split("\n")[1].split()
    assert row[1:] == ["Exhausted", "earlier", "15m", "never", "5", "10m"]
    assert needs_clearing(streak)
    assert needs_clearing(lock(block={"reason": 1})), "nothing starts there before somebody has mended it"
    assert needs_clearing(lock(**blocked()))
    assert not needs_clearing(lock(**held()))
    assert not needs_clearing(lock(workflows=[{"workflowId": "restart", "consecutiveFailures": 4}]))


@pytest.mark.parametrize(
    ("obj", "ended"),
    [
        (wfe("Completed"), True),
        (wfe("Completed", finalizers=["example.com/keeps-it"]), True),
        (wfe("Completed", finalizers=[FINALIZER]), False),
        (running(), False),
    ],
)
def test_a_watch_ends_when_the_target_is_let_go(obj: Json, ended: bool) -> None:
    """A finalizer of somebody else says nothing about our lock, and may stay for ever."""
    assert over(obj) is ended


# -- secrets, and texts that were edited ------------------------------------------------------------------------------


def test_secret_parameters_are_masked_wherever_they_are_printed() -> None:
    """SPEC 12. The object itself, which retry clones, stays as it is."""
    obj = wfe(spec={"parameters": {"DB_PASSWORD": "hunter2hunter2", "NOTE": "seen"}})
    obj["metadata"]["annotations"][APPLIED] = json.dumps(obj)
    shown = machine(tidied(obj), "json") + machine(as_list([obj]), "yaml")
    assert "hunter2" not in shown
    assert "seen" in shown
    assert obj["spec"]["parameters"]["DB_PASSWORD"] == "hunter2hunter2"
    assert clone(obj, "web-r2", "alice", None)["spec"]["parameters"]["DB_PASSWORD"] == "hunter2hunter2"
    steps = tidied(wfe(spec={"workflowDefinition": {"steps": [{"name": "a", "parameters": {"apiToken": "abcdefgh"}}]}}))
    assert "abcdefgh" not in machine(steps, "json")


BODY = clone(wfe(), "web-r2", "alice", None)
EDITED = machine(BODY, "yaml").replace("version: '1'", "version: '2'")


def test_a_corrected_copy_comes_back() -> None:
    body, text = edited_copy(BODY, CommandLine(), lambda before: EDITED)
    assert body["spec"]["workflowRef"]["version"] == "2"
    assert text == EDITED


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "the edited text is no YAML"),
        ("just words", "no object with metadata"),
        (EDITED.replace("kind: WorkflowExecution", "kind: Pod"), "kind was 'WorkflowExecution'"),
        (EDITED.replace("namespace: shop", "namespace: other"), "namespace was 'shop'"),
        (EDITED.replace("name: web-r2", "name: Web_2"), "metadata.name: 'Web_2' cannot be a name"),
        (EDITED.replace("name: web-r2", "nom: web-r2"), "metadata.name: '' cannot be a name"),
        (EDITED.replace("targetResource: ", "targetResource: a/"), "the edited spec cannot be used"),
    ],
)
def test_what_was_edited_is_not_thrown_away(text: str, why: str) -> None:
    """At night nobody types it twice: the text is in a file, and only its writer may read it."""
    with pytest.raises(Refusal) as caught:
        edited_copy(BODY, CommandLine(), lambda before: text)
    assert why in caught.value.reason
    path = Path(caught.value.reason.rpartition(" ")[2])
    assert caught.value.next == f"kubectl create -f {path}"
    try:
        assert path.read_text(encoding="utf-8") == text
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        path.unlink()


@pytest.mark.parametrize("answer", [None, machine(BODY, "yaml") + "\n"])
def test_what_was_not_edited_creates_nothing(answer: str | None) -> None:
    with pytest.raises(Refusal, match="nothing was changed in the editor"):
        edited_copy(BODY, CommandLine(), lambda before: answer)


# -- doctor ------------------------------------------------------------------------------------------------------------


def test_the_doctor_fits_80_columns_and_names_a_role_that_has_the_right() -> None:
    rows = rights_rows([(need, "kubernaut-workflows") for need in NEEDS])
    text = as_lines(rows, 80)
    assert max(map(len, text.split("\n"))) <= 80
    by_right = {row.seen.split(" (")[0]: row.remedy for row in rows}
    assert "operator" in by_right["you may not patch workflowexecutions.kubernaut.ai in kubernaut-workflows"]
    assert "requester" in by_right["you may not create workflowexecutions.kubernaut.ai in kubernaut-workflows"]
    assert "viewer" in by_right["you may not list workflowexecutions.kubernaut.ai in kubernaut-workflows"]
    assert "ClusterRole view " in by_right["you may not list pods in kubernaut-workflows"]
    granted = {role["metadata"]["name"]: role["rules"][0]["verbs"] for role in users()}
    for row in rows:
        for role, verbs in granted.items():
            if role in row.remedy:
                assert row.seen.split()[3] in verbs
    assert len(as_lines(rows, UNCUT).split("\n")) == 2 * len(rows) + 1, "in a pipe a line a check, for grep"


def test_the_doctor_sends_to_the_controller_that_there_is() -> None:
    row = lease_row(facts(None, lease=None, leads_elsewhere=("remedy",)))
    assert "kubectl wfe doctor --controller-namespace remedy" in row.remedy


def test_the_doctor_sees_a_clock_that_is_wrong() -> None:
    row = lease_row(facts(None, lease=lease(95), lease_moves=True))
    assert "about 95s behind" in row.seen


# -- graphs, narrow terminals, names that stay whole -------------------------------------------------------------------

ODD = ["a", "end", 'x"y', "<b>&amp;#35;", "a;b", "界", "x]--", "`code`", "a\\", "%%c", 'n"] --> evil["x', "subgraph"]


def _odd_graph() -> Graph:
    states = ["Running", "Rolled Back!", "Failed\n  n9 --> n1", "\x1b[2J"]
    vertices = tuple(Vertex(name, states[index % 4], 'of "it"') for index, name in enumerate(ODD))
    return Graph('a "title"\n: b', vertices, (("a", "end"),))


def test_a_label_in_mermaid_stays_a_label() -> None:
    """Checked once against mermaid 11; pinned here: quotes, brackets and entities are escaped, classes are ours."""
    text = mermaid(_odd_graph())
    body = text.split("flowchart LR\n")[1].split("\n")
    nodes, rest = body[: len(ODD)], body[len(ODD) :]
    for node in nodes:
        assert re.fullmatch(r"  n\d+\[\"[^\"\\`]*\"\]:::[a-z]+", node), node
        assert re.sub(r"<br/>", "", node).count("<") == 0
    classes = {line.split()[1] for line in rest if "classDef" in line}
    assert {node.rpartition(":::")[2] for node in nodes} <= classes
    assert rest[0] == "  n0 --> n1"


def test_a_label_in_dot_is_a_string_of_graphviz() -> None:
    """It knows no JSON escapes: a wide character stays itself."""
    text = dot(_odd_graph())
    strings = re.findall(r'"(?:[^"\\]|\\.)*"', text)
    assert not any(re.search(r"\\u[0-9a-f]{4}", found) for found in strings)
    assert "界" in text
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", text)
    assert "evil" not in bare
    assert bare.count("->") == 1


def test_names_stay_whole_while_something_else_can_give() -> None:
    """``restart-frontend-twice`` is typed into the next command; the reason is said by explain."""
    objs = [wfe("Skipped", name=name, reason="RecentlyRemediated") for name in ("restart-frontend-twice", "x" * 60)]
    text = executions_table(objs, NOW, Style(), wide=False, namespaces=False)
    assert "restart-frontend-twice " in text
    assert max(map(cells, text.split("\n"))) <= 80


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_sentences_fit_a_narrow_terminal(columns: int) -> None:
    style = Style.of_terminal({"COLUMNS": str(columns)})
    told = as_text(explain(facts(failed(message="word " * 60), lock=lock(**blocked()))), style)
    sentences, _, _ = told.partition("\n  $ ")  # a command is not cut inside its quotes
    assert max(map(cells, sentences.split("\n"))) <= columns


# -- ctrl-C ----------------------------------------------------------------------------------------------------


def test_ctrl_c_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is how a watch ends; a shell knows 130."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wfe_controller.cli.kubectl.watching.run", interrupted)
    said = invoke("watch")
    assert said.exit_code == 130
    assert said.stderr.strip() == ""
