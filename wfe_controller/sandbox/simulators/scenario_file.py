"""Reads scenario files, strictly.

An unknown key, a name that nothing defines, a wait that can never end is an error of one line that names file, key and
remedy. Neighbour: ``scenario`` has the shapes.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from wfe_controller.api.durations import DurationError, parse_duration
from wfe_controller.api.phases import TERMINAL, Phase
from wfe_controller.api.reasons import FailureReason, SkipReason
from wfe_controller.api.targets import TargetError, parse_target
from wfe_controller.locking.clearance import MIN_REASON
from wfe_controller.sandbox.simulators.scenario import Bundle, Decision, Sample, Scenario, Task, When

DEFAULT = Path(__file__).parents[1] / "scenarios" / "default.yaml"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_REASONS = {*FailureReason, *SkipReason}
_ON_ERROR = ("", "continue", "stopAndFail")


class ScenarioError(Exception):
    """A scenario cannot be played; the text is one line: file, key, what is wrong, what to write instead."""


def load(path: Path) -> Scenario:
    """Raises ScenarioError."""
    try:
        raw = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"scenario {path}: cannot be read ({error}): name a YAML file with --scenario") from None
    return parse(raw, str(path))


def default() -> Scenario:
    """The shipped one."""
    return load(DEFAULT)


def parse(raw: str, file: str) -> Scenario:
    """``file`` is only for messages. Raises ScenarioError."""
    try:
        content = yaml.load(raw, _Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise ScenarioError(f"scenario {file}: is no YAML: {' '.join(str(error).split())}; correct it there") from None
    try:
        scenario = msgspec.convert({**content, "file": file} if isinstance(content, dict) else content, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(_explained(str(error), file, content)) from None
    _check(scenario)
    return scenario


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        return super().construct_mapping(node, deep)


def _explained(error: str, file: str, content: object) -> str:
    problem, _, where = error.partition(" - at ")
    where = where.strip("`").rpartition("`")[2]
    path = where.removeprefix("$").lstrip(".")
    if path.startswith("bundles[...]") and isinstance(content, dict) and isinstance(content.get("bundles"), dict):
        path = f"bundles.{_first_bad(content['bundles'])}{path.removeprefix('bundles[...]')}"
    allowed = _allowed(path)
    if missing := re.search(r"missing required field `(\w+)`", problem):
        remedy = f"add {missing[1]}"
    elif "Expected" in problem and allowed and "object" not in problem.partition(",")[0]:
        remedy = "correct its type"
    else:
        remedy = f"write one of {_listed(allowed)}" if allowed else "correct its type"
    return f"scenario {file}: {path or 'the file'}: {problem}; {remedy}"


def _first_bad(bundles: dict[Any, Any]) -> str:
    """The name that msgspec leaves out of its paths."""
    for name, bundle in bundles.items():
        try:
            msgspec.convert(bundle, Bundle)
        except msgspec.ValidationError:
            return str(name)
    return "..."


def _allowed(path: str) -> list[str]:
    """What may stand at a path that msgspec complains about: keys of an object, members of an enum."""
    kind: object = Scenario
    path = re.sub(r"^bundles\.[^.\[]+", "bundles[...]", path)
    for part in re.findall(r"[^.\[\]]+|\[[^\]]*\]", path):
        kind = _inner(kind) if part.startswith("[") else _field(kind, part)
    options = [option for option in (kind, *typing.get_args(kind)) if isinstance(option, type)]
    for option in options:
        if issubclass(option, msgspec.Struct):
            return [field.encode_name for field in msgspec.structs.fields(option) if field.name != "file"]
        if members := getattr(option, "__members__", None):
            return [str(member.value) for member in members.values()]
    literals = [item for option in (kind, *typing.get_args(kind)) for item in typing.get_args(option)]
    return [str(item) for item in literals if isinstance(item, str)]


def _inner(kind: object) -> object:
    arguments = typing.get_args(kind)
    return arguments[-1] if arguments else object


def _field(kind: object, name: str) -> object:
    for option in (kind, *typing.get_args(kind)):
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return next((f.type for f in msgspec.structs.fields(option) if f.encode_name == name), object)
    return object


class _Checker:
    """The first fault ends it, so that one line tells one thing."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.executions = {sample.name for sample in scenario.samples}
        self.targets = {_canonical(sample.target) for sample in scenario.samples}

    def fail(self, key: str, problem: str, remedy: str) -> None:
        raise ScenarioError(f"scenario {self.scenario.file}: {key}: {problem}; {remedy}")

    def name(self, key: str, value: str) -> None:
        if not _NAME.fullmatch(value):
            self.fail(key, f"{value!r} is no name", "use lower-case letters, digits and '-', at most 63")

    def execution(self, key: str, value: str) -> None:
        if value not in self.executions:
            self.fail(key, f"there is no sample {value!r}", f"write one of {_listed(self.executions)}")

    def target(self, key: str, value: str) -> None:
        if _canonical(value) not in self.targets:
            self.fail(key, f"no sample has the target {value!r}", f"write one of {_listed(self.targets)}")

    def moments(self, key: str, moments: Sequence[When]) -> None:
        for number, when in enumerate(moments):
            where = f"{key}[{number}]"
            if bool(when.execution) != (when.phase is not None):
                self.fail(where, "execution and phase belong together", "write both, or neither")
            if bool(when.target) != (when.is_ is not None):
                self.fail(where, "target and is belong together", "write both, or neither")
            if when.execution:
                self.execution(f"{where}.execution", when.execution)
            if when.target:
                self.target(f"{where}.target", when.target)
            self.seconds(f"{where}.after", when.after)

    def seconds(self, key: str, value: float) -> None:
        if not 0 <= value < math.inf:
            self.fail(key, f"{value:g} is no time", "write seconds from 0 on")

    def duration(self, key: str, value: str) -> None:
        try:
            parse_duration(value)
        except DurationError as error:
            problem, _, remedy = str(error).rpartition(": ")
            self.fail(key, problem or str(error), remedy)

    def said(self, key: str, value: str, least: int = 1) -> None:
        if len(value.strip()) < least:
            self.fail(key, f"{value!r} is too short", f"write at least {least} characters")


def _check(scenario: Scenario) -> None:
    checker = _Checker(scenario)
    if not scenario.samples:
        checker.fail("samples", "is empty", "write at least one WorkflowExecution")
    checker.name("namespace", scenario.namespace)
    if not 0 < scenario.deadline < math.inf:
        checker.fail("deadline", f"{scenario.deadline:g} is not above 0", "write seconds, such as 60")
    _check_workloads(checker)
    for name, bundle in scenario.bundles.items():
        _check_bundle(checker, f"bundles.{name}", name, bundle)
    for number, sample in enumerate(scenario.samples):
        _check_sample(checker, f"samples[{number}]", sample, [other.name for other in scenario.samples[:number]])
    for number, decision in enumerate(scenario.operator):
        _check_decision(checker, f"operator[{number}]", decision)
    for number, lock in enumerate(scenario.locks):
        checker.target(f"locks[{number}].target", lock.target)
        if lock.outcome and lock.outcome not in set(TERMINAL):
            checker.fail(f"locks[{number}].outcome", f"{lock.outcome!r} is no end", f"write one of {_listed(TERMINAL)}")
    _check_order(checker)


def _check_bundle(checker: _Checker, key: str, name: str, bundle: Bundle) -> None:
    checker.name(key, name)
    if bundle.resolution == "ok" and not bundle.tasks:
        checker.fail(f"{key}.tasks", "is empty", "write at least one task, or resolution: never")
    known = [task.name for task in bundle.tasks]
    all_ = [*known, *(task.name for task in bundle.finally_)]
    for part, tasks in (("tasks", bundle.tasks), ("finally", bundle.finally_)):
        for number, task in enumerate(tasks):
            where = f"{key}.{part}[{number}]"
            checker.name(f"{where}.name", task.name)
            if all_.count(task.name) > 1:
                checker.fail(f"{where}.name", f"{task.name!r} is there twice", "give each task its own name")
            for other in task.run_after:
                if other not in known:
                    checker.fail(f"{where}.runAfter", f"there is no task {other!r}", f"write one of {_listed(known)}")
            if task.timeout:
                checker.duration(f"{where}.timeout", task.timeout)
            _check_steps(checker, where, task)
    if circle := _circle({task.name: set(task.run_after) for task in bundle.tasks}):
        remedy = "let one of them begin without the others"
        checker.fail(f"{key}.tasks", f"{_listed(circle)} run after each other", remedy)


def _check_steps(checker: _Checker, key: str, task: Task) -> None:
    if not task.steps:
        checker.fail(f"{key}.steps", "is empty", "write at least one step")
    for number, step in enumerate(task.steps):
        where = f"{key}.steps[{number}]"
        checker.name(f"{where}.name", step.name)
        checker.seconds(f"{where}.play.seconds", step.play.seconds)
        if not 0 <= step.play.exit_code <= 255:
            checker.fail(f"{where}.play.exitCode", f"{step.play.exit_code} is no exit code", "write 0 to 255")
    for where, on_error in [
        (key, task.on_error),
        *((f"{key}.steps[{n}]", s.on_error) for n, s in enumerate(task.steps)),
    ]:
        if on_error not in _ON_ERROR:
            checker.fail(
                f"{where}.onError", f"{on_error!r} is unknown", f"write one of {_listed(filter(None, _ON_ERROR))}"
            )


def _check_workloads(checker: _Checker) -> None:
    there: set[tuple[str, str]] = set()
    for number, workload in enumerate(checker.scenario.workloads):
        key = f"workloads[{number}]"
        checker.name(f"{key}.name", workload.name)
        if workload.namespace:
            checker.name(f"{key}.namespace", workload.namespace)
        if workload.replicas < 0:
            checker.fail(f"{key}.replicas", f"{workload.replicas} is negative", "write a number from 0 on")
        if (found := (workload.namespace or checker.scenario.namespace, workload.name)) in there:
            checker.fail(f"{key}.name", f"{workload.name!r} is there twice", "give each workload its own name")
        there.add(found)


def _check_sample(checker: _Checker, key: str, sample: Sample, earlier: Sequence[str]) -> None:
    checker.name(f"{key}.name", sample.name)
    if sample.name in earlier:
        checker.fail(f"{key}.name", f"{sample.name!r} is there twice", "give each sample its own name")
    if sample.bundle not in checker.scenario.bundles:
        remedy = f"write one of {_listed(checker.scenario.bundles)}"
        checker.fail(f"{key}.bundle", f"there is no bundle {sample.bundle!r}", remedy)
    try:
        parse_target(sample.target)
    except TargetError as error:
        checker.fail(f"{key}.target", str(error), "write NAMESPACE/KIND/NAME, such as shop/deployment/cart")
    if sample.expect.phase not in TERMINAL:
        remedy = f"write one of {_listed(TERMINAL)}"
        checker.fail(f"{key}.expect.phase", f"{sample.expect.phase} is no end", remedy)
    if sample.expect.reason and sample.expect.reason not in _REASONS:
        remedy = f"write one of {_listed(_REASONS)}"
        checker.fail(f"{key}.expect.reason", f"{sample.expect.reason!r} is none of the reasons", remedy)
    wanted = {Phase.FAILED: FailureReason, Phase.SKIPPED: SkipReason}.get(sample.expect.phase)
    if wanted is not None and sample.expect.reason not in set(wanted):
        problem = f"{sample.expect.phase} with reason {sample.expect.reason!r} cannot come"
        checker.fail(f"{key}.expect.reason", problem, f"write one of {_listed(wanted)}")
    if sample.namespace:
        checker.name(f"{key}.namespace", sample.namespace)
    if sample.timeout:
        checker.duration(f"{key}.timeout", sample.timeout)
    checker.moments(f"{key}.when", sample.when)


def _check_decision(checker: _Checker, key: str, decision: Decision) -> None:
    given = [
        name
        for name, value in (
            ("clearBlock", decision.clear_block),
            ("cancel", decision.cancel),
            ("pause", decision.pause),
            ("resume", decision.resume),
            ("delete", decision.delete),
        )
        if value
    ]
    if len(given) != 1:
        said = "nothing to do" if not given else f"{' and '.join(given)} at once"
        checker.fail(key, said, "write exactly one of clearBlock, cancel, pause, resume, delete")
    if decision.clear_block is not None:
        checker.target(f"{key}.clearBlock.target", decision.clear_block.target)
        checker.said(f"{key}.clearBlock.by", decision.clear_block.by)
        checker.said(f"{key}.clearBlock.reason", decision.clear_block.reason, MIN_REASON)
    if decision.cancel is not None:
        checker.execution(f"{key}.cancel.execution", decision.cancel.execution)
        checker.said(f"{key}.cancel.by", decision.cancel.by)
        checker.said(f"{key}.cancel.reason", decision.cancel.reason)
    for verb in ("pause", "resume", "delete"):
        if value := getattr(decision, verb):
            checker.execution(f"{key}.{verb}", value)
    checker.moments(f"{key}.when", decision.when)


def _check_order(checker: _Checker) -> None:
    """No sample may wait for one that, directly or not, waits for it."""
    circle = _circle(
        {sample.name: {when.execution for when in sample.when if when.execution} for sample in checker.scenario.samples}
    )
    if circle:
        checker.fail("samples", f"{_listed(circle)} wait for each other", "let one of them begin without the others")


def _circle(before: dict[str, set[str]]) -> list[str]:
    """Names that can never begin, each because of another of them."""
    while free := [name for name, others in before.items() if not others]:
        for name in free:
            del before[name]
        for others in before.values():
            others.difference_update(free)
    return list(before)


def _canonical(target: str) -> str:
    try:
        return parse_target(target).canonical
    except TargetError:
        return target


def _listed(values: Iterable[object]) -> str:
    return ", ".join(sorted(str(value) for value in values))
