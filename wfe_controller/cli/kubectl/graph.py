"""``graph``: the tasks or steps of one execution as a graph for mermaid or dot. ``of_facts``, ``mermaid`` and ``dot``
are pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click

from wfe_controller.cli.kubectl.explain.facts import Facts
from wfe_controller.cli.kubectl.explain.gather import gather
from wfe_controller.cli.kubectl.options import Places, cluster_options, execution_argument, output_option
from wfe_controller.cli.kubectl.output import machine
from wfe_controller.cli.kubectl.session import Refusal, Session, run
from wfe_controller.cli.kubectl.tree import Node, build, planned_tasks
from wfe_controller.cli.kubectl.words import one_line
from wfe_controller.kube.objects import Json, items, mapping, spec, text

_RESULT = re.compile(r"\$\(tasks\.([A-Za-z0-9_-]+)\.(?:results|status)")


@dataclass(frozen=True, slots=True)
class Vertex:
    name: str
    state: str = "Waiting"
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """``edges``: (from, to): ``to`` starts after ``from``."""

    title: str
    vertices: tuple[Vertex, ...]
    edges: tuple[tuple[str, str], ...]

    def to_json(self) -> Json:
        nodes = [{"name": v.name, "state": v.state, "detail": v.detail} for v in self.vertices]
        return {"title": self.title, "nodes": nodes, "edges": [{"from": a, "to": b} for a, b in self.edges]}


def of_facts(facts: Facts) -> Graph:
    """The graph; empty when neither a plan nor a task is known yet."""
    states = dict(_states(build(facts)))
    if facts.engine == "steps":
        plan = [mapping(s) for s in items(mapping(spec(facts.obj).get("workflowDefinition")).get("steps"))]
        edges = [(text(before), text(step.get("name"))) for step in plan for before in items(step.get("dependsOn"))]
        names = [text(step.get("name")) for step in plan]
    else:
        planned = planned_tasks(facts.own_run)
        names = list(dict.fromkeys([*(text(task.get("name")) for task in planned), *states]))
        edges = list(_task_edges(planned))
    known = set(names)
    kept = tuple(dict.fromkeys((a, b) for a, b in edges if a in known and b in known and a != b))
    vertices = tuple(Vertex(name, *states.get(name, ("Waiting", ""))) for name in names)
    return Graph(f"{facts.key} on {facts.target}", vertices, kept)


def _states(node: Node) -> Iterator[tuple[str, tuple[str, str]]]:
    for child in node.children:
        if child.kind == "Task" or (child.kind == "Step" and node.kind == "WorkflowExecution"):
            yield child.name, (child.state, child.detail)
        elif child.kind == "PipelineRun":
            yield from _states(child)


def _task_edges(tasks: list[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """runAfter, and results of other tasks that are used (both order tasks in Tekton)."""
    for task in tasks:
        name = text(task.get("name"))
        for before in items(task.get("runAfter")):
            yield text(before), name
        used = json.dumps([task.get("params"), task.get("when"), task.get("matrix")])
        for before in _RESULT.findall(used):
            yield before, name


def _identifiers(graph: Graph) -> dict[str, str]:
    return {vertex.name: f"n{index}" for index, vertex in enumerate(graph.vertices)}


_ENTITIES = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;", "\\": "#92;"}


def _in_mermaid(label: str) -> str:
    """Text that stays text within a quoted label, whatever it is."""
    return "".join(_ENTITIES.get(character, character) for character in one_line(label))


def _in_dot(*lines: str) -> str:
    """A quoted string of Graphviz: it knows no escapes but of quotes, and takes others for its own."""
    told = [one_line(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines]
    return '"' + "\\n".join(told) + '"'


def _known(state: str) -> str:
    return state if state in COLOURS else "Waiting"


def mermaid(graph: Graph) -> str:
    """A flowchart; each state is a class with its colour."""
    ids = _identifiers(graph)
    lines = ["---", f"title: {json.dumps(one_line(graph.title))}", "---", "flowchart LR"]
    for vertex in graph.vertices:
        label = "<br/>".join(_in_mermaid(part) for part in (vertex.name, vertex.state, vertex.detail) if part)
        lines.append(f'  {ids[vertex.name]}["{label}"]:::{_known(vertex.state).lower()}')
    lines += [f"  {ids[a]} --> {ids[b]}" for a, b in graph.edges]
    lines += [f"  classDef {state.lower()} fill:{colour}" for state, colour in COLOURS.items()]
    return "\n".join(lines)


def dot(graph: Graph) -> str:
    """A digraph for Graphviz."""
    ids = _identifiers(graph)
    title = _in_dot(graph.title)
    lines = [f"digraph {title} {{", "  rankdir=LR;", '  node [shape=box style="rounded,filled"];', f"  label={title};"]
    for vertex in graph.vertices:
        label = _in_dot(vertex.name, f"{vertex.state} {vertex.detail}".rstrip())
        colour = COLOURS[_known(vertex.state)]
        lines.append(f'  {ids[vertex.name]} [label={label} fillcolor="{colour}"];')
    lines += [f"  {ids[a]} -> {ids[b]};" for a, b in graph.edges]
    return "\n".join([*lines, "}"])


COLOURS = {
    "Waiting": "#eeeeee",
    "Running": "#aed6f1",
    "Succeeded": "#abebc6",
    "Completed": "#abebc6",
    "Failed": "#f5b7b1",
    "Skipped": "#f9e79f",
    "RolledBack": "#f9e79f",
}


@click.command()
@execution_argument
@output_option("mermaid", "dot")
@cluster_options
def graph(name: str, output: str | None, places: Places) -> None:
    """Print its tasks as a graph: mermaid (the default) or dot."""

    async def work(session: Session) -> Graph:
        facts = await gather(session, await session.execution_named(name))
        found = of_facts(facts)
        if not found.vertices:
            why = "its pipeline is not resolved yet, or its run is gone"
            raise Refusal(f"{facts.key} has no tasks to draw: {why}", session.commands.on("explain", facts.key))
        return found

    found = run(places, work)
    match output:
        case "json" | "yaml":
            click.echo(machine(found.to_json(), output))
        case "dot":
            click.echo(dot(found))
        case _:
            click.echo(mermaid(found))
