"""``doctor``: can these tools work here, with your rights? (``wfe-controller doctor`` asks it for the controller.)

``rights_rows`` and ``lease_row`` are pure. Nothing is written: access reviews change nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace

import click

from wfe_controller.api.names import (
    API_VERSION,
    GROUP,
    LEASE_NAME,
    PIPELINERUNS,
    RUNNER_SERVICE_ACCOUNT,
    TARGETLOCKS,
    TASKRUNS,
    WORKFLOWEXECUTIONS,
)
from wfe_controller.app.doctor import Row, Verdict, fail, ok, warn
from wfe_controller.cli.kubectl.explain.facts import Facts, Leader, Unread
from wfe_controller.cli.kubectl.explain.gather import leases_elsewhere, looked_twice
from wfe_controller.cli.kubectl.options import Places, cluster_options, output_option
from wfe_controller.cli.kubectl.output import machine
from wfe_controller.cli.kubectl.session import Session, refused, run
from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.kubectl.words import age, plural, wrapped
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.errors import Forbidden, KubeError, NotFound
from wfe_controller.kube.objects import (
    ACCESS_REVIEWS,
    EVENTS,
    LEASES,
    PODS,
    SERVICE_ACCOUNTS,
    Json,
    ObjectKey,
    Resource,
    items,
    mapping,
    spec,
    status,
    text,
)

VIEWER, REQUESTER, OPERATOR = (f"kubernaut-workflowexecution-{role}" for role in ("viewer", "requester", "operator"))


UNCUT = 10_000
"""The width of a pipe: one line a check, for grep."""


@dataclass(frozen=True, slots=True)
class Need:
    """A right that commands need. ``place``: here | home | execution. ``vital``: without it nothing works."""

    commands: str
    verb: str
    resource: Resource
    place: str
    vital: bool = False
    name: str = ""
    """Of the only object that is meant: ours may be granted by name."""


NEEDS: tuple[Need, ...] = (
    Need("get, watch, explain", "list", WORKFLOWEXECUTIONS, "here", vital=True),
    Need("watch", "watch", WORKFLOWEXECUTIONS, "here"),
    Need("explain, tree, graph", "get", WORKFLOWEXECUTIONS, "here", vital=True),
    Need("cancel, pause, resume", "patch", WORKFLOWEXECUTIONS, "here"),
    Need("retry", "create", WORKFLOWEXECUTIONS, "here"),
    Need("locks, explain", "list", TARGETLOCKS, "home"),
    Need("explain, clear-block", "get", TARGETLOCKS, "home"),
    Need("clear-block", "patch", TARGETLOCKS, "home"),
    Need("explain", "get", LEASES, "home", name=LEASE_NAME),
    Need("explain", "list", EVENTS, "here"),
    Need("explain, tree, graph", "get", PIPELINERUNS, "execution"),
    Need("explain, tree, graph", "list", TASKRUNS, "execution"),
    Need("explain, tree", "list", PODS, "execution"),
)


def review(need: Need, namespace: str) -> Json:
    """The SelfSubjectAccessReview that asks for it."""
    attributes = {
        "verb": need.verb,
        "group": need.resource.group,
        "version": need.resource.version,
        "resource": need.resource.plural,
        "namespace": namespace,
        "name": need.name,
    }
    return {
        "apiVersion": ACCESS_REVIEWS.api_version,
        "kind": ACCESS_REVIEWS.kind,
        "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
    }


def rights_rows(refused: Sequence[tuple[Need, str]]) -> list[Row]:
    """One row for each right that is missing, or one that says that none is. ``refused``: (need, namespace)."""
    if not refused:
        return [ok("your rights", f"all {len(NEEDS)} that the commands need")]
    rows = []
    for need, namespace in refused:
        say = fail if need.vital else warn
        seen = f"you may not {need.verb} {need.resource.group_resource} in {namespace} ({need.commands})"
        rows.append(say("your rights", seen, f"ask for {_role_with(need, namespace)}"))
    return rows


def _role_with(need: Need, namespace: str) -> str:
    """A role that has it: ours, or what every cluster has (Tekton adds its kinds to ``view``)."""
    if need.resource.group == GROUP or need.resource is LEASES:
        role = {"patch": OPERATOR, "create": REQUESTER}.get(need.verb, VIEWER)
        return f"the ClusterRole {role} in {namespace}"
    return f"the ClusterRole view in {namespace}"


def as_text(rows: Sequence[Row], width: int) -> str:
    """A line a check, what it saw and the remedy folded to ``width``, and a sum."""
    names = max((len(row.name) for row in rows), default=0)
    lines = []
    for row in rows:
        mark = row.verdict.upper() if row.verdict is Verdict.FAIL else row.verdict
        room = max(30, width - names - 8)
        first, *more = wrapped(row.seen, room, cut_words=True)
        lines.append(f"{mark:<4}  {row.name:<{names}}  {first}".rstrip())
        if row.remedy:
            remedy, *rest = wrapped(row.remedy, room - 3, cut_words=False)
            more += [f"-> {remedy}", *(f"   {line}" for line in rest)]
        lines += [f"{'':<4}  {'':<{names}}  {line}" for line in more]
    counts = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    told = (plural(counts[Verdict.WARN], "warning"), plural(counts[Verdict.FAIL], "failure"))
    return "\n".join([*lines, ", ".join([f"{counts[Verdict.OK]} ok", *told])])


def lease_row(facts: Facts) -> Row:
    """Whether a controller is at work."""
    lease = facts.lease if isinstance(facts.lease, dict) else {}
    held = spec(lease)
    renewed = parse_rfc3339(held.get("renewTime"))
    ago = f"renewed {age((facts.now - renewed).total_seconds())} ago" if renewed is not None else "never renewed"
    where = f"Lease {facts.home}/{LEASE_NAME}"
    remedy = f"is the controller installed there? {facts.commands.kubectl('get', 'pods', namespace=facts.home)}"
    if facts.leads_elsewhere:
        there = facts.commands.at_home(facts.leads_elsewhere[0]).wfe("doctor")
        remedy = f"one leads in {', '.join(facts.leads_elsewhere)}: {there}"
    match facts.leader:
        case Leader.ALIVE if facts.skew:
            who = f"{text(held.get('holderIdentity'))} leads; {facts.skew}"
            return warn("controller", who, "set the clock of its node: deadlines and cooldowns are kept by it")
        case Leader.ALIVE:
            return ok("controller", f"{text(held.get('holderIdentity'))} leads, {ago}")
        case Leader.SILENT:
            return fail("controller", f"{where} is held by {text(held.get('holderIdentity'))}, {ago}", remedy)
        case Leader.NONE:
            return fail("controller", f"{where} is {'free' if lease else 'not there'}: no controller runs", remedy)
        case Leader.UNKNOWN:
            return warn("controller", f"{where} may not be read", "ask for get on leases there")


class Examination:
    """The checks, one after the other; one that cannot ask says so and the others go on."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def rows(self) -> list[Row]:
        rows: list[Row] = []
        for name, check in (
            ("server", self._server),
            ("you", self._who),
            ("kinds", self._kinds),
            ("controller", self._controller),
            ("tekton", self._tekton),
            ("runner account", self._runner),
            ("your rights", self._rights),
        ):
            try:
                rows += [row async for row in check()]
            except KubeError as error:
                refusal = refused(error, self._session)
                rows.append(fail(name, f"could not ask: {refusal.reason}", refusal.next))
                if name == "server":
                    break
        return rows

    async def _server(self) -> AsyncIterator[Row]:
        answer = await self._session.api.raw("GET", "/version")
        yield ok("server", f"Kubernetes {text(answer.get('gitVersion'))} at {self._session.api.transport.server}")

    async def _who(self) -> AsyncIterator[Row]:
        who = await self._session.username()
        yield ok("you", f"{who}, in namespace {self._session.namespace}")

    async def _kinds(self) -> AsyncIterator[Row]:
        apply = self._session.commands.kubectl("apply", "--server-side", "-f", "-")
        remedy = f"install the CRDs: wfe-controller manifests crds | {apply}"
        try:
            served = await self._session.api.raw("GET", f"/apis/{API_VERSION}")
        except NotFound:
            yield fail("kinds", f"{API_VERSION} is not served", remedy)
            return
        names = {text(mapping(r).get("name")) for r in items(served.get("resources"))}
        missing = [r.kind for r in (WORKFLOWEXECUTIONS, TARGETLOCKS) if r.plural not in names]
        if missing:
            yield fail("kinds", f"not served: {', '.join(missing)}", remedy)
        else:
            yield ok("kinds", "WorkflowExecution and TargetLock are served")

    async def _controller(self) -> AsyncIterator[Row]:
        session = self._session
        lease: Json | Unread | None
        try:
            lease = await session.api.get(LEASES, ObjectKey(session.home, LEASE_NAME))
        except NotFound:
            lease = None
        except Forbidden:
            lease = Unread("the Lease", "forbidden")
        now = await session.now()
        nobody = ObjectKey("", "")
        seen = Facts(nobody, now, None, session.home, session.execution, lease=lease, commands=session.commands)
        seen = await looked_twice(session, seen)
        if seen.leader is Leader.NONE:
            seen = replace(seen, leads_elsewhere=await leases_elsewhere(session))
        yield lease_row(seen)

    async def _tekton(self) -> AsyncIterator[Row]:
        try:
            await self._session.api.raw("GET", f"/apis/{PIPELINERUNS.api_version}")
        except NotFound:
            yield warn("tekton", f"{PIPELINERUNS.api_version} is not served", "install Tekton Pipelines")
            return
        yield ok("tekton", f"{PIPELINERUNS.api_version} is served")

    async def _runner(self) -> AsyncIterator[Row]:
        session = self._session
        where = f"{session.execution}/{RUNNER_SERVICE_ACCOUNT}"
        try:
            await session.api.get(SERVICE_ACCOUNTS, ObjectKey(session.execution, RUNNER_SERVICE_ACCOUNT))
        except NotFound:
            make = session.commands.kubectl(
                "create", "serviceaccount", RUNNER_SERVICE_ACCOUNT, namespace=session.execution
            )
            yield warn("runner account", f"{where} does not exist", make)
        except Forbidden:
            yield ok("runner account", f"{where} may not be looked at: not checked")
        else:
            yield ok("runner account", f"{where} exists")

    async def _rights(self) -> AsyncIterator[Row]:
        session = self._session
        places = {"here": session.namespace, "home": session.home, "execution": session.execution}
        refused = []
        for need in NEEDS:
            namespace = places[need.place]
            answer = await session.api.raw("POST", ACCESS_REVIEWS.path(), body=review(need, namespace))
            if status(answer).get("allowed") is not True:
                refused.append((need, namespace))
        for row in rights_rows(refused):
            yield row


@click.command()
@output_option()
@cluster_options
def doctor(output: str | None, places: Places) -> int:
    """Check that these commands can work here: server, kinds, controller, and your rights.

    Ends with 1 when something fails. 'wfe-controller doctor' checks what the controller itself needs.
    """

    async def work(session: Session) -> list[Row]:
        return await Examination(session).rows()

    rows = run(places, work)
    good = all(row.verdict is not Verdict.FAIL for row in rows)
    if output:
        checks = [{**asdict(row), "verdict": str(row.verdict)} for row in rows]
        click.echo(machine({"ok": good, "checks": checks}, output))
    else:
        style = Style.of_terminal()
        click.echo(as_text(rows, style.prose if style.cut else UNCUT))
    return 0 if good else 1
