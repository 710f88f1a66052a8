"""CEL rules of CustomResourceDefinitions: compiled once, evaluated on every write.

The only module that imports the CEL library (docs/decisions/0011); its errors are turned into the words of the real
server, which runs another implementation of the same language. What differs from the real server: cost is neither
estimated nor limited, and of the Kubernetes libraries only ``sum()`` exists.

Rules stand on nodes of the structural schema. Transition rules (those that name ``oldSelf``) are skipped when there is
no old value; other rules are forgiven where the value has not changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cel_expr_python import cel  # type: ignore[import-untyped]  # stubs, but no marker that says so
from cel_expr_python.ext import ext_bindings, ext_optional, ext_strings  # type: ignore[import-untyped]  # likewise

from wfe_controller.sandbox.apiserver.celvalues import (
    CACHED_MATCHES,
    LITERALS,
    Converter,
    go_rule,
    self_type,
    typed,
    undefined,
    with_cached_patterns,
)
from wfe_controller.sandbox.apiserver.formats import pattern
from wfe_controller.sandbox.apiserver.status import Cause, cause, quote
from wfe_controller.sandbox.apiserver.structural import MISSING, Node

Json = dict[str, Any]

NOT_CHECKED = Cause(
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation",
    "<nil>",
)
_BLOCKING = frozenset(
    {"FieldValueRequired", "FieldValueTypeInvalid", "FieldValueTooLong", "FieldValueTooMany", "FieldValueNotSupported"}
)
_OLD_SELF = re.compile(r"\boldSelf\b")
_PATH_STEP = re.compile(r"\.([A-Za-z_]\w*)|\['((?:[^'\\]|\\.)*)'\]")
_MAX_MESSAGE = 5 * 1024


class RuleError(ValueError):
    """Rules that cannot be; ``causes`` have the fields of the CustomResourceDefinition."""

    def __init__(self, causes: list[Cause]) -> None:
        self.causes = causes
        super().__init__("; ".join(str(one) for one in causes))


def blocked(causes: Iterable[Cause]) -> bool:
    """Whether what is already wrong keeps the rules from being evaluated (then NOT_CHECKED is said instead)."""
    return any(one.reason in _BLOCKING for one in causes)


def _sum(values: list[Any]) -> Any:
    return sum(values)


_patterns: list[str] = []
"""Literals of ``matches`` in the rules of this process, by number; as many as there are different ones in CRDs."""


def _number(literal: str) -> int:
    meant = str(_environment("dyn").compile(literal).eval().plain_value())
    if meant not in _patterns:
        _patterns.append(meant)
    return _patterns.index(meant)


def _matches(text: str, number: int) -> bool:
    return pattern(_patterns[number]).search(text) is not None


@cache
def _environment(self_type: str) -> Any:
    """One environment for each type ``self`` can have; they are all the same otherwise."""
    types = {
        "integer": cel.Type.INT,
        "number": cel.Type.DOUBLE,
        "boolean": cel.Type.BOOL,
        "string": cel.Type.STRING,
        "timestamp": cel.Type.STRING,
        "duration": cel.Type.STRING,
        "array": cel.Type.List(cel.Type.DYN),
    }
    kind = types.get(self_type, cel.Type.DYN)
    total = cel.Overload("wfe_list_sum", cel.Type.DYN, [cel.Type.List(cel.Type.DYN)], True, _sum)
    match = cel.Overload("wfe_string_matches", cel.Type.BOOL, [cel.Type.STRING, cel.Type.INT], True, _matches)
    extensions = [
        ext_strings.ExtStrings(),
        ext_optional.ExtOptional(),
        ext_bindings.ExtBindings(),
        cel.CelExtension("kubernetes.lists", [cel.FunctionDecl("sum", [total])]),
        cel.CelExtension("wfe.patterns", [cel.FunctionDecl(CACHED_MATCHES, [match])]),
    ]
    variables = {"self": kind, "oldSelf": kind, "hasOldSelf": cel.Type.BOOL}
    return cel.NewEnv(variables=variables, extensions=extensions)


@dataclass(slots=True)
class _Rule:
    text: str
    source: str
    program: Any
    transition: bool
    optional_old: bool
    message: str
    message_program: Any
    reason: str
    steps: tuple[str, ...]


@dataclass(slots=True)
class _Place:
    """A node with rules on it or below it."""

    node: Node
    rules: list[_Rule] = field(default_factory=list)
    properties: dict[str, _Place] = field(default_factory=dict)
    additional: _Place | None = None
    items: _Place | None = None
    converter: Converter | None = None
    together: dict[tuple[bool, bool], Any] = field(default_factory=dict)

    def all_of(self, rules: list[_Rule], case: tuple[bool, bool]) -> Any:
        """All rules that one case asks for as one program, made at its first use; None when there is no such program.

        Nearly every object keeps every rule, and one evaluation costs about as much as another, whatever its length.
        """
        if case not in self.together:
            source = " && ".join(f"({rule.source}\n)" for rule in rules)
            try:
                self.together[case] = _environment(self_type(self.node)).compile(source)
            except RuntimeError:  # too long for the library: they are asked one by one
                self.together[case] = None
        return self.together[case]

    @property
    def needed(self) -> bool:
        return bool(self.rules or self.properties or self.additional or self.items)


class Rules:
    """The rules of one version's schema. False when it has none."""

    def __init__(self, root: _Place | None) -> None:
        self._root = root

    def __bool__(self) -> bool:
        return self._root is not None

    @classmethod
    def compile(cls, openapi: Json | None, path: str = "spec.validation.openAPIV3Schema") -> Rules:
        """Raises RuleError; ``path`` is where the schema stands in the CustomResourceDefinition."""
        if openapi is None:
            return cls(None)
        compiler = _Compiler()
        root = compiler.place(Node.compile(openapi), path, "")
        if compiler.causes:
            raise RuleError(compiler.causes)
        return cls(root if root.needed else None)

    def evaluate(self, obj: Any, old: Any = None) -> list[Cause]:
        """Causes of the rules that fail; an outer place's before those of what it contains."""
        found: list[Cause] = []
        if self._root is not None:
            _evaluate(self._root, obj, MISSING if old is None else old, "", found)
        return found


def _evaluate(place: _Place, value: Any, old: Any, path: str, found: list[Cause]) -> None:
    if value is None:
        return
    if place.rules:
        _apply_rules(place, value, old, path, found)
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for name, child in place.properties.items():
            if name in value:
                _evaluate(child, value[name], before.get(name, MISSING), f"{path}.{name}" if path else name, found)
        if place.additional is not None:
            for name, child_value in value.items():
                if name not in place.node.properties:
                    _evaluate(place.additional, child_value, before.get(name, MISSING), f"{path}[{name}]", found)
    elif isinstance(value, list) and place.items is not None:
        previous = {_key(place.node, item): item for item in old} if isinstance(old, list) else {}
        mapped = place.node.list_type == "map"
        for index, item in enumerate(value):
            was = previous.get(_key(place.node, item), MISSING) if mapped else MISSING
            _evaluate(place.items, item, was, f"{path}[{index}]", found)


def _key(node: Node, item: Any) -> str:
    return json.dumps([item.get(key) for key in node.list_keys]) if isinstance(item, dict) else ""


def _apply_rules(place: _Place, value: Any, old: Any, path: str, found: list[Cause]) -> None:
    fresh = old is MISSING
    unchanged = not fresh and value == old
    asked = [
        rule
        for rule in place.rules
        if (rule.optional_old or not rule.transition if fresh else rule.transition or not unchanged)
    ]
    if not asked:
        return
    activation = _environment(self_type(place.node)).Activation(_data(place, value, old))
    program = place.all_of(asked, (fresh, unchanged)) if len(asked) > 1 else None
    if program is not None:
        result = program.eval(activation)
        if result.type() == cel.Type.BOOL and result.plain_value() is True:
            return
    for rule in asked:
        result = rule.program.eval(activation)
        outcome = result.plain_value() if result.type() == cel.Type.BOOL else None
        if outcome is True:
            continue
        if outcome is None:
            said = rule.message or rule.text
            shown = quote("array" if place.node.type == "array" else place.node.type or "")
            text = f"Invalid value: {shown}: {_error_text(result)} evaluating rule: {said}"
            found.append(cause("Invalid", path, text))
        else:
            found.append(_failed(rule, place, value, path, _message(rule, activation)))


def _data(place: _Place, value: Any, old: Any) -> Json:
    assert place.converter is not None
    shown = place.converter.convert(value)
    # The library wants every variable bound; no rule looks at oldSelf unless it is there.
    before = shown if old is MISSING else place.converter.convert(old)
    return {"self": shown, "oldSelf": before, "hasOldSelf": old is not MISSING}


def _message(rule: _Rule, activation: Any) -> str:
    if rule.message_program is not None:
        result = rule.message_program.eval(activation)
        if result.type() == cel.Type.STRING:
            text = str(result.plain_value())
            if text.strip() and "\n" not in text and len(text) <= _MAX_MESSAGE:
                return text.strip()
    return rule.message or f"failed rule: {rule.text}"


def _failed(rule: _Rule, place: _Place, value: Any, path: str, message: str) -> Cause:
    where = path
    node: Node | None = place.node
    for step in rule.steps:
        inside_map = node is not None and step not in node.properties
        where = f"{where}[{step}]" if inside_map else f"{where}.{step}" if where else step
        node = node.child(step) if node is not None else None
    scalar = "" if isinstance(value, dict | list) else f"{json.dumps(value, ensure_ascii=False)}: "
    if rule.reason == "FieldValueForbidden":
        return cause("Forbidden", where, f"Forbidden: {message}")
    if rule.reason == "FieldValueRequired":
        return cause("Required", where, f"Required value: {message}")
    if rule.reason == "FieldValueDuplicate":
        return cause("Duplicate", where, f"Duplicate value: {scalar}".rstrip(": "))
    return cause("Invalid", where, f"Invalid value: {scalar}{message}")


def _compile_error(text: str) -> str:
    """Why a rule does not compile; the two implementations share nearly all of their words."""
    text = text.removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
    theirs = r"expression of type '(.*?)' cannot be the operand of a select operation"
    return re.sub(theirs, r"type '\1' does not support field selection", text)


def _error_text(result: Any) -> str:
    """What went wrong, as the real server's implementation says it."""
    text = str(result.plain_value()) if result.type() == cel.Type.ERROR else "no such overload"
    if match := re.search(r'Key not found in map : "?(.*?)"?$', text):
        return f"no such key: {match.group(1)}"
    if match := re.search(r"Index error: index=(-?\d+)", text):
        return f"index out of bounds: {match.group(1)}"
    if "divide by zero" in text:
        return "division by zero"
    if "No matching overloads" in text:
        return "no such overload"
    return text.partition(": ")[2] or text


class _Compiler:
    def __init__(self) -> None:
        self.causes: list[Cause] = []

    def place(self, node: Node, path: str, uncorrelated: str) -> _Place:
        """``uncorrelated`` is the path of a list around this node whose items have no history, "" for none."""
        place = _Place(node)
        for index, rule in enumerate(node.raw.get("x-kubernetes-validations") or ()):
            made = self._rule(node, rule, f"{path}.x-kubernetes-validations[{index}]", uncorrelated)
            if made is not None:
                place.rules.append(made)
        if place.rules:
            place.converter = Converter(node, ordered=any(rule.transition for rule in place.rules))
        for name, child in node.properties.items():
            below = self.place(child, f"{path}.properties[{name}]", uncorrelated)
            if below.needed:
                place.properties[name] = below
        if isinstance(node.additional, Node):
            below = self.place(node.additional, f"{path}.additionalProperties", uncorrelated)
            place.additional = below if below.needed else None
        if node.items is not None:
            lost = uncorrelated or ("" if node.list_type == "map" else path)
            below = self.place(node.items, f"{path}.items", lost)
            place.items = below if below.needed else None
        return place

    def _say(self, kind: str, path: str, text: str) -> None:
        self.causes.append(cause(kind, path, text))

    def _rule(self, node: Node, rule: Json, path: str, uncorrelated: str) -> _Rule | None:
        text = str(rule.get("rule") or "").strip()
        message = rule.get("message")
        before = len(self.causes)
        if not text:
            self._say("Required", f"{path}.rule", "Required value: rule is not specified")
        if message is not None and not str(message).strip() and message != "":
            self._say("Invalid", f"{path}.message", f"Invalid value: {quote(message)}: must be non-empty if specified")
        elif message and ("\n" in message.strip()):
            text_wrong = f"Invalid value: {quote(message)}: must not contain line breaks"
            self._say("Invalid", f"{path}.message", text_wrong)
        elif "\n" in text and not message and not rule.get("messageExpression"):
            wrong = "Required value: message must be specified if rule contains line breaks"
            self._say("Required", f"{path}.message", wrong)
        reason = rule.get("reason")
        reasons = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
        if reason and reason not in reasons:
            supported = ", ".join(quote(known) for known in reasons)
            wrong = f"Unsupported value: {quote(reason)}: supported values: {supported}"
            self._say("NotSupported", f"{path}.reason", wrong)
        steps = self._steps(node, str(rule.get("fieldPath") or ""), f"{path}.fieldPath")
        transition = _OLD_SELF.search(LITERALS.sub("''", text)) is not None
        if transition and uncorrelated:
            wrong = "oldSelf cannot be used on the uncorrelatable portion of the schema within"
            self._say("Invalid", f"{path}.rule", f"Invalid value: {quote(text)}: {wrong} {uncorrelated}")
        if len(self.causes) > before:
            return None
        optional = bool(rule.get("optionalOldSelf"))
        program, source = self._program(node, rule, text, f"{path}.rule", wanted="bool", optional=optional)
        said = str(rule.get("messageExpression") or "").strip()
        speaker = None
        if said:
            where = f"{path}.messageExpression"
            speaker, _ = self._program(node, rule, said, where, wanted="string", optional=optional)
        if len(self.causes) > before:
            return None
        said = str(message or "").strip()
        return _Rule(text, source, program, transition, optional, said, speaker, reason or "", steps)

    def _steps(self, node: Node, text: str, path: str) -> tuple[str, ...]:
        steps: list[str] = []
        at, here = 0, node
        while at < len(text):
            match = _PATH_STEP.match(text, at)
            child = here.child(match.group(1) or match.group(2)) if match else None
            if match is None or child is None:
                self._say("Invalid", path, f"Invalid value: {quote(text)}: must be a valid path")
                return ()
            steps.append(match.group(1) or match.group(2))
            at, here = match.end(), child
        return tuple(steps)

    def _program(self, node: Node, rule: Json, text: str, path: str, *, wanted: str, optional: bool) -> tuple[Any, str]:
        """The program and what it was made from."""
        shown = go_rule(rule)
        wrong = undefined(node, text)
        source = text if wrong else typed(node, text)
        if optional and _OLD_SELF.search(LITERALS.sub("''", text)):
            source = f"cel.bind(oldSelf, hasOldSelf ? optional.of(oldSelf) : optional.none(), {source})"
        program: Any = None
        if not wrong:
            try:
                program = _environment(self_type(node)).compile(source)
                source = with_cached_patterns(source, _number)
                program = _environment(self_type(node)).compile(source)
            except RuntimeError as error:
                wrong = _compile_error(str(error))
        if wrong:
            place = "compilation failed" if wanted == "bool" else "messageExpression compilation failed"
            self._say("Invalid", path, f"Invalid value: {shown}: {place}: {wrong}")
            return None, ""
        kind = program.return_type()
        if wanted == "bool" and kind not in (cel.Type.BOOL, cel.Type.DYN):
            self._say("Invalid", path, f"Invalid value: {shown}: cel expression must evaluate to a bool")
        if wanted == "string" and kind not in (cel.Type.STRING, cel.Type.DYN):
            self._say("Invalid", path, f"Invalid value: {shown}: messageExpression must evaluate to a string")
        return program, source
