"""Reads scenario files, strictly.

An unknown key, a name that nothing defines, a wait that can never end is an error of one line that names file, key and
remedy. Neighbour: ``scenario`` has the shapes.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import yaml

from wfe_controller.api.phases import TERMINAL
from wfe_controller.api.reasons import FailureReason, SkipReason
from wfe_controller.api.targets import TargetError, parse_target
from wfe_controller.sandbox.simulators.scenario import Bundle, Decision, Sample, Scenario, When

DEFAULT = Path(__file__).parents[1] / "scenarios" / "default.yaml"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_REASONS = {*FailureReason, *SkipReason}


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
        content = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise ScenarioError(f"scenario {file}: is no YAML: {' '.join(str(error).split())}; correct it there") from None
    try:
        scenario = msgspec.convert({**content, "file": file} if isinstance(content, dict) else content, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(_explained(str(error), file)) from None
    _check(scenario)
    return scenario


def _explained(error: str, file: str) -> str:
    problem, _, where = error.partition(" - at ")
    path = where.strip("`").removeprefix("$").lstrip(".")
    allowed = _allowed(path)
    remedy = f"write one of {_listed(allowed)}" if allowed else "correct its type"
    return f"scenario {file}: {path or 'the file'}: {problem}; {remedy}"


def _allowed(path: str) -> list[str]:
    """What may stand at a path that msgspec complains about: keys of an object, members of an enum."""
    kind: object = Scenario
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
            if when.after < 0:
                self.fail(f"{where}.after", f"{when.after:g} is negative", "write seconds from 0 on")


def _check(scenario: Scenario) -> None:
    checker = _Checker(scenario)
    if not scenario.samples:
        checker.fail("samples", "is empty", "write at least one WorkflowExecution")
    if scenario.deadline <= 0:
        checker.fail("deadline", f"{scenario.deadline:g} is not above 0", "write seconds, such as 60")
    for name, bundle in scenario.bundles.items():
        _check_bundle(checker, f"bundles.{name}", name, bundle)
    for number, sample in enumerate(scenario.samples):
        _check_sample(checker, f"samples[{number}]", sample, [other.name for other in scenario.samples[:number]])
    for number, decision in enumerate(scenario.operator):
        _check_decision(checker, f"operator[{number}]", decision)
    for number, lock in enumerate(scenario.locks):
        checker.target(f"locks[{number}].target", lock.target)
    _check_order(checker)


def _check_bundle(checker: _Checker, key: str, name: str, bundle: Bundle) -> None:
    checker.name(key, name)
    if bundle.resolution == "ok" and not bundle.tasks:
        checker.fail(f"{key}.tasks", "is empty", "write at least one task, or resolution: never")
    known = [task.name for task in bundle.tasks]
    for number, task in enumerate(bundle.tasks):
        if known.count(task.name) > 1:
            checker.fail(f"{key}.tasks[{number}].name", f"{task.name!r} is there twice", "give each task its own name")
        for other in task.run_after:
            if other not in known:
                remedy = f"write one of {_listed(known)}"
                checker.fail(f"{key}.tasks[{number}].runAfter", f"there is no task {other!r}", remedy)
    for part, tasks in (("tasks", bundle.tasks), ("finally", bundle.finally_)):
        for number, task in enumerate(tasks):
            if not task.steps:
                checker.fail(f"{key}.{part}[{number}].steps", "is empty", "write at least one step")


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
    if decision.cancel is not None:
        checker.execution(f"{key}.cancel.execution", decision.cancel.execution)
    for verb in ("pause", "resume", "delete"):
        if value := getattr(decision, verb):
            checker.execution(f"{key}.{verb}", value)
    checker.moments(f"{key}.when", decision.when)


def _check_order(checker: _Checker) -> None:
    """No sample may wait for one that, directly or not, waits for it."""
    open_ = {
        sample.name: {when.execution for when in sample.when if when.execution} for sample in checker.scenario.samples
    }
    while free := [name for name, others in open_.items() if not others]:
        for name in free:
            del open_[name]
        for others in open_.values():
            others.difference_update(free)
    if open_:
        circle = _listed(open_)
        checker.fail("samples", f"{circle} wait for each other", "let one of them begin without the others")


def _canonical(target: str) -> str:
    try:
        return parse_target(target).canonical
    except TargetError:
        return target


def _listed(values: Iterable[object]) -> str:
    return ", ".join(sorted(str(value) for value in values))
