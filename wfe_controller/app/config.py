"""Every setting, its default, its rule; and ``load_settings``, which reads them.

Precedence: flags > environment > YAML file > defaults (app/layers merges them and remembers where each value came
from). Validation happens once, at the end, over the merged values; a problem is one line naming key, value, origin
and remedy. Durations are float seconds in Python and Go duration strings (``1m30s``) everywhere else.
Neighbours: app/config_values has what a single value may be, app/config_rules what holds between several.
Only these modules and api/ know pydantic.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from wfe_controller.app.config_rules import combinations, explain, go_duration, problem_line
from wfe_controller.app.config_values import (
    CONTROLLERS,
    AddressText,
    Blank,
    Controllers,
    Duration,
    DurationOrOff,
    Engines,
    HttpUrl,
    Level,
    Names,
    Namespace,
    Namespaces,
    Number,
    ObjectName,
    ObjectNames,
    Rate,
    Registries,
    lower,
    seconds,
)
from wfe_controller.app.exits import ConfigError
from wfe_controller.app.layers import KeyPath, Layers, dotted, env_name

DEFAULT_PATH = Path("/etc/workflowexecution/config.yaml")
RESERVED_TOKENS = 5  # of client.burst, kept by the throttle for leases and terminal writes

T = TypeVar("T")


def _is(default: T, about: str, *, reload: bool = False) -> T:
    field: T = Field(default=default, description=about, json_schema_extra={"reload": True} if reload else None)
    return field


def _count(default: int, low: int, high: int, about: str, *, reload: bool = False) -> int:
    extra: dict[str, Any] | None = {"reload": True} if reload else None
    field: int = Field(default=default, ge=low, le=high, description=about, json_schema_extra=extra)
    return field


class Section(BaseModel):
    """One section of the file: frozen, camelCase outside, snake_case inside."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


class ControllerSettings(Section):
    namespace: Namespace = _is(
        "kubernaut-system", "home of the Lease and the TargetLocks, unless the pod knows its own"
    )
    controllers: Controllers = _is(CONTROLLERS, "which controllers run in this process")
    metrics_address: AddressText = _is(":9090", "address of /metrics")
    health_address: AddressText = _is(":8081", "address of /healthz and /readyz; may equal metricsAddress")
    leader_election: bool = _is(True, "work only while holding the Lease")
    leader_election_id: ObjectName = _is("workflowexecution.kubernaut.ai", "name of the Lease; one per install")
    lease_duration: Duration = _is(15.0, "a standby takes over after this long without a renewal; whole seconds")
    renew_deadline: Duration = _is(10.0, "the leader stops when it could not renew for this long")
    retry_period: Duration = _is(2.0, "pause between two tries to acquire or renew")
    watch_namespaces: Namespaces = _is((), "namespaces whose WorkflowExecutions are worked on; empty = all")
    workers: Number = _count(8, 1, 256, "WorkflowExecutions reconciled at the same time")
    require_tekton: Annotated[bool | None, Blank] = _is(
        None, "exit 1 at start when Tekton is missing; unset = yes when the tekton engine is enabled"
    )
    shutdown_timeout: Duration = _is(15.0, "how long reconciles in flight may finish after SIGTERM")


class ExecutionSettings(Section):
    namespace: Namespace = _is("kubernaut-workflows", "where PipelineRuns, TaskRuns and Jobs are created")
    service_account: ObjectName = _is("kubernaut-workflow-runner", "account of a run that names none")
    allowed_service_accounts: ObjectNames = _is((), "further accounts a WorkflowExecution may name", reload=True)
    allowed_registries: Registries = _is((), "registries a bundle may come from; empty = any", reload=True)
    cooldown_period: DurationOrOff = _is(300.0, "pause after a success, per target and workflow; 0s = off", reload=True)
    base_cooldown_period: Duration = _is(60.0, "pause after the first pre-execution failure; doubles", reload=True)
    max_cooldown_period: Duration = _is(600.0, "longest pause after pre-execution failures", reload=True)
    max_backoff_exponent: Number = _count(4, 0, 16, "how often the pause may double", reload=True)
    max_consecutive_failures: Number = _count(5, 1, 100, "pre-execution failures until ExhaustedRetries", reload=True)
    streak_retention: Duration = _is(86400.0, "a failure streak is forgotten after this long", reload=True)
    start_deadline: Duration = _is(1800.0, "longest wait in Pending, from creation", reload=True)
    start_timeout: Duration = _is(600.0, "longest wait for the first pod of a run to start", reload=True)
    resolution_timeout: Duration = _is(60.0, "longest wait for Tekton to resolve the bundle", reload=True)
    create_retry_timeout: Duration = _is(300.0, "how long a failing creation is retried, from the acquire", reload=True)
    run_retention: Annotated[DurationOrOff | None, Blank] = _is(
        None, "how long a finished run is kept; unset = cooldownPeriod, 0s = deleted at once", reload=True
    )
    default_timeout: Duration = _is(1800.0, "timeout of a WorkflowExecution that names none; 1m to 24h", reload=True)
    poll_interval: Duration = _is(10.0, "a running WorkflowExecution is looked at this often without any event")
    sweep_interval: Duration = _is(60.0, "pause between two sweeps over locks and runs")
    cancel_finally_timeout: Duration = _is(60.0, "after a cancel: when finally tasks are cancelled too", reload=True)
    cancel_timeout: Duration = _is(120.0, "after a cancel: when the run is deleted", reload=True)
    cancel_deadline: Duration = _is(
        180.0, "after a cancel: when the target is blocked as CancelIncomplete", reload=True
    )

    @property
    def kept_for(self) -> float:
        """Seconds a finished run is kept."""
        return self.cooldown_period if self.run_retention is None else self.run_retention


class StepsSettings(Section):
    max_parallel_steps: Number = _count(5, 1, 100, "active steps of one WorkflowExecution")
    complexity_approval_threshold: Number = _count(10, 1, 100, "more steps than this need an approval")
    approval_timeout: Duration = _is(900.0, "an approval must come within this time")
    step_timeout: Duration = _is(300.0, "timeout of a step that names none")
    step_timeout_max: Duration = _is(1800.0, "longest timeout a step may name")
    rollback_step_timeout: Duration = _is(300.0, "timeout of undoing one step")
    drain_timeout: Duration = _is(300.0, "how long a failing workflow waits for its running steps")
    state_cache_ttl: Duration = _is(5.0, "how long a read of the cluster's state is reused")
    enabled_actions: Names = _is((), "actions that may run; empty = the whole catalog")
    protected_namespaces: Namespaces = _is(("kube-system", "kube-public", "kube-node-lease"), "never acted upon")
    allow_retry_after_rollback: bool = _is(False, "a rolled back target may be remediated at once")
    log_tail_bytes: Number = _count(4096, 0, 65536, "how much of a failing container's log is kept")
    action_image: Annotated[str | None, Blank] = _is(None, "image of action Jobs; unset = the image of this pod")


class PoliciesSettings(Section):
    mode: Annotated[Literal["off", "observe", "enforce"], BeforeValidator(lower)] = _is(
        "enforce", "what a failing condition does; safety policies always enforce", reload=True
    )
    conditions_config_map: ObjectName = _is("kubernaut-workflow-conditions", "ConfigMap of the conditions")
    safety_config_map: ObjectName = _is("kubernaut-safety-policies", "ConfigMap of the safety policies")
    resync_interval: Duration = _is(60.0, "the policies are read again this often without any event")
    eval_timeout: Duration = _is(2.0, "longest evaluation of one policy")
    allow_inline_rego: bool = _is(False, "a WorkflowExecution may carry conditions of its own")


class AuditFile(Section):
    path: Annotated[str | None, Blank] = _is(None, "file of JSON lines, for sink = file")


class AuditHttp(Section):
    url: Annotated[HttpUrl | None, Blank] = _is(None, "base URL of the store, for sink = http")
    timeout: Duration = _is(10.0, "timeout of one delivery")


class AuditSpool(Section):
    dir: Annotated[str | None, Blank] = _is(None, "where undelivered events wait on disk")


class AuditSettings(Section):
    sink: Annotated[Literal["log", "file", "http"], BeforeValidator(lower)] = _is("log", "where audit events go")
    file: AuditFile = AuditFile()
    http: AuditHttp = AuditHttp()
    spool: AuditSpool = AuditSpool()


class ClientSettings(Section):
    qps: Rate = Field(
        20.0, ge=0, description="API requests a second; 0 = unlimited", json_schema_extra={"reload": True}
    )
    burst: Number = _count(30, RESERVED_TOKENS + 1, 100_000, "API requests at once", reload=True)
    request_timeout: Duration = _is(10.0, "longest wait for an answer of the API server")


class LoggingSettings(Section):
    level: Level = _is("info", "debug, info, warning or error", reload=True)
    format: Annotated[Literal["json", "console"], BeforeValidator(lower)] = _is("json", "json or console")


class Settings(BaseSettings):
    """All settings, validated, frozen. ``warnings``: what the start log should say about how they were found."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )

    engines: Engines = _is(("tekton", "steps"), "engines that may run WorkflowExecutions")
    controller: ControllerSettings = ControllerSettings()
    execution: ExecutionSettings = ExecutionSettings()
    steps: StepsSettings = StepsSettings()
    policies: PoliciesSettings = PoliciesSettings()
    audit: AuditSettings = AuditSettings()
    client: ClientSettings = ClientSettings()
    logging: LoggingSettings = LoggingSettings()

    _warnings: tuple[str, ...] = PrivateAttr(default=())
    _path: Path | None = PrivateAttr(default=None)
    _again: Callable[[], Settings] | None = PrivateAttr(default=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # Only what load_settings merged: the stock sources neither reject unknown variables nor keep origins.
        return (init_settings,)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the start log should say: where settings came from, and which of them this version does not use yet."""
        idle = [s.key for s in settings_table() if s.path[0] in IDLE_SECTIONS and self.value(s.path) != s.default]
        if not idle:
            return self._warnings
        return (*self._warnings, f"settings without effect in this version: {', '.join(idle)}")

    @property
    def path(self) -> Path | None:
        """The file that was read, or None."""
        return self._path

    def read_again(self) -> Settings:
        """The settings that the same file, environment and flags give now; raises ConfigError."""
        return self if self._again is None else self._again()

    @property
    def tekton_required(self) -> bool:
        required = self.controller.require_tekton
        return "tekton" in self.engines if required is None else required

    def describe(self) -> dict[str, Any]:
        """The effective settings as the YAML file would spell them, without credentials: for the start log."""
        root: dict[str, Any] = {}
        for setting in settings_table():
            node = root
            for part in setting.path[:-1]:
                node = node.setdefault(part, {})
            node[setting.path[-1]] = setting.spell(self.value(setting.path))
        return root

    def replaced(self, path: KeyPath, value: Any) -> Settings:
        """A copy with one key changed; ``value`` is a valid one, taken from other settings."""

        def copy(node: BaseModel, rest: KeyPath) -> BaseModel:
            name = _field_of(type(node), rest[0])
            return node.model_copy(update={name: value if len(rest) == 1 else copy(getattr(node, name), rest[1:])})

        replaced = copy(self, path)
        assert isinstance(replaced, Settings)
        return replaced

    def value(self, path: KeyPath) -> Any:
        """The value of one key by its camelCase path."""
        node: Any = self
        for part in path:
            node = getattr(node, _field_of(type(node), part))
        return node

    @property
    def hash(self) -> str:
        """16 hex digits that change when any setting does."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


IDLE_SECTIONS = ("audit", "policies", "steps")
"""Sections that are read and checked but belong to parts that this version does not have."""


class Setting(NamedTuple):
    """One row of the documentation: everything there is to know about a key."""

    path: KeyPath
    default: Any
    about: str
    reloads: bool
    is_duration: bool

    @property
    def key(self) -> str:
        return dotted(self.path)

    @property
    def env(self) -> str:
        return env_name(self.path)

    def spell(self, value: Any) -> Any:
        """A value as YAML has it: durations with units, tuples as lists, URLs without user and password."""
        if self.is_duration and value is not None:
            return go_duration(value)
        if isinstance(value, tuple):
            return list(value)
        if self.path[-1] == "url" and isinstance(value, str):
            parts = urlsplit(value)
            return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
        return value


def _field_of(model: type[BaseModel], alias: str) -> str:
    return next(name for name, info in model.model_fields.items() if info.alias == alias)


def _read_by(function: object, *parts: object) -> bool:
    """True when an annotation, however nested in Optional, has ``function`` as its validator."""
    return any(getattr(part, "func", None) is function or _read_by(function, *get_args(part)) for part in parts)


def _leaves(model: type[BaseModel], prefix: KeyPath) -> Iterator[Setting]:
    for info in model.model_fields.values():
        path = (*prefix, str(info.alias))
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _leaves(info.annotation, path)
            continue
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        is_duration = _read_by(seconds, *info.metadata, info.annotation)
        yield Setting(path, info.default, info.description or "", bool(extra.get("reload")), is_duration)


_TABLE: tuple[Setting, ...] = tuple(_leaves(Settings, ()))


def settings_table() -> tuple[Setting, ...]:
    """Every key, in the order of the file."""
    return _TABLE


def load_settings(
    path: Path | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
    *,
    origins: Mapping[str, str] | None = None,
    default_path: Path = DEFAULT_PATH,
) -> Settings:
    """Settings from all sources; raises ConfigError with every problem at once.

    ``path``: an explicit file, which must exist; None = ``default_path`` if it is there, else defaults and a warning.
    ``overrides``: dotted key -> text, from flags; ``origins``: dotted key -> the flag to name in an error.
    """
    layers = Layers(frozenset(setting.path for setting in _TABLE))
    warnings: list[str] = []
    source = path
    if path is None and default_path.exists():
        source = default_path
    if source is not None:
        layers.add_file(source)
    else:
        warnings.append(f"no config file at {default_path}: using defaults, environment and flags")
    layers.add_environment(env or {})
    layers.add_overrides(overrides or {}, origins or {})
    problems = list(layers.problems)
    settings: Settings | None = None
    try:
        settings = Settings(**layers.tree())
    except ValidationError as error:
        problems += _problems(error, layers)
    if settings is not None:
        by_key = {setting.key: setting for setting in _TABLE}
        for key, rule in combinations(settings, by_key, CONTROLLERS):
            setting = by_key[key]
            value = layers.values.get(setting.path, setting.spell(settings.value(setting.path)))
            problems.append(problem_line(key, value, layers.origins.get(setting.path, "default"), rule))
    if problems or settings is None:
        raise ConfigError(problems)
    settings._warnings = tuple(warnings)
    settings._path = source
    settings._again = partial(load_settings, source, env, overrides, origins=origins, default_path=default_path)
    return settings


def _problems(error: ValidationError, layers: Layers) -> Iterator[str]:
    for detail in error.errors(include_url=False):
        location = tuple(str(part) for part in detail["loc"])
        path = next((p for p in layers.values if location[: len(p)] == p), location)
        rest = location[len(path) :]
        key = dotted(path) + "".join(f"[{part}]" for part in rest if part.isdigit())
        yield problem_line(key, detail["input"], layers.origins.get(path, "default"), explain(detail))
