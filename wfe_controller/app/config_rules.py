"""Rules between settings, and the words in which a wrong setting is told.

Neighbours: app/config owns the keys, app/config_values the rules of single values. Pure; knows no pydantic.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from wfe_controller.app.addresses import parse_address
from wfe_controller.app.layers import shown

if TYPE_CHECKING:
    from wfe_controller.app.config import Setting, Settings

    Table = Mapping[str, Setting]


def go_duration(seconds: float) -> str:
    """Seconds in the shortest Go spelling that loses nothing an operator writes: ``90s`` -> ``1m30s``, ``250ms``."""
    if seconds != int(seconds):
        return f"{round(seconds * 1000)}ms"
    hours, rest = divmod(int(seconds), 3600)
    minutes, second = divmod(rest, 60)
    spelt = "".join(f"{count}{unit}" for count, unit in ((hours, "h"), (minutes, "m"), (second, "s")) if count)
    return spelt or "0s"


def _ordered(settings: Settings, by_key: Table, *keys: str) -> Iterator[tuple[str, str]]:
    """Problems of durations that must be strictly ascending."""
    for small, large in pairwise(keys):
        low, high = by_key[small], by_key[large]
        if not settings.value(low.path) < settings.value(high.path):
            spelt = low.spell(settings.value(low.path))
            yield large, f"must be longer than {small} = {shown(spelt)}; raise it or lower the other"


def combinations(settings: Settings, by_key: Table, controllers: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(key, rule and remedy) for every impossible combination."""
    controller, execution, steps, audit = settings.controller, settings.execution, settings.steps, settings.audit
    if not settings.engines:
        yield "engines", "nothing could run; name tekton, steps or both"
    if not controller.controllers:
        yield "controller.controllers", f"nothing would run; name {', '.join(controllers)}"
    if controller.require_tekton and "tekton" not in settings.engines:
        yield "controller.requireTekton", "the tekton engine is not enabled; add tekton to engines or unset this"
    if controller.lease_duration != int(controller.lease_duration):
        yield "controller.leaseDuration", "a Lease holds whole seconds; write it like 15s"
    yield from _ordered(settings, by_key, "controller.renewDeadline", "controller.leaseDuration")
    if not controller.renew_deadline > 1.2 * controller.retry_period:
        yield (
            "controller.renewDeadline",
            f"must be longer than 1.2 x controller.retryPeriod = {go_duration(1.2 * controller.retry_period)}; "
            "raise it or lower the other",
        )
    metrics, health = parse_address(controller.metrics_address), parse_address(controller.health_address)
    wildcards = {"", "0.0.0.0", "::"}
    if metrics.port == health.port != 0 and metrics.host != health.host and {metrics.host, health.host} & wildcards:
        yield (
            "controller.healthAddress",
            f"takes the port of controller.metricsAddress = {shown(controller.metrics_address)} with another host; "
            "write the same address twice or use two ports",
        )
    if execution.max_cooldown_period < execution.base_cooldown_period:
        yield (
            "execution.maxCooldownPeriod",
            f"must be at least execution.baseCooldownPeriod = {shown(go_duration(execution.base_cooldown_period))}; "
            "raise it or lower the other",
        )
    if execution.streak_retention < execution.max_cooldown_period:
        yield (
            "execution.streakRetention",
            f"must be at least execution.maxCooldownPeriod = {shown(go_duration(execution.max_cooldown_period))}, "
            "else a pause would be forgotten before its end; raise it or lower the other",
        )
    if not 60 <= execution.default_timeout <= 86400:
        yield "execution.defaultTimeout", "must be between 1m and 24h, as a WorkflowExecution's own timeout"
    yield from _ordered(
        settings, by_key, "execution.cancelFinallyTimeout", "execution.cancelTimeout", "execution.cancelDeadline"
    )
    if steps.step_timeout_max < steps.step_timeout:
        yield (
            "steps.stepTimeoutMax",
            f"must be at least steps.stepTimeout = {shown(go_duration(steps.step_timeout))}; "
            "raise it or lower the other",
        )
    if audit.sink == "file" and audit.file.path is None:
        yield "audit.file.path", 'needed because audit.sink = "file"; name the file'
    if audit.sink == "http" and audit.http.url is None:
        yield "audit.http.url", 'needed because audit.sink = "http"; name the store'


_EXPECTED = {
    "bool_parsing": "not a yes or no; write true or false",
    "bool_type": "not a yes or no; write true or false",
    "int_parsing": "not a whole number",
    "int_type": "not a whole number",
    "int_from_float": "not a whole number",
    "float_parsing": "not a number",
    "float_type": "not a number",
    "string_type": "not text; put it into quotes",
    "tuple_type": "not a list; write one, like [a, b]",
}


def explain(detail: Mapping[str, Any]) -> str:
    """One pydantic error as rule and remedy."""
    context = detail.get("ctx", {})
    match detail["type"]:
        case "setting":
            return str(context["rule"])
        case "literal_error":
            return f"must be one of {str(context['expected']).replace(chr(39), '')}"
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}"
        case "less_than_equal":
            return f"must be at most {context['le']:g}"
        case kind:
            return _EXPECTED.get(kind, str(detail["msg"]))


def problem_line(key: str, value: object, origin: str, rule: str) -> str:
    # A URL may carry a password, and this line goes to the terminal and into logs.
    quoted = re.sub(r"//[^/@\s]*@", "//***@", shown(value))
    return f"{key} = {quoted} ({origin}): {rule}"
