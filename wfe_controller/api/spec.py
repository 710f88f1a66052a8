"""``WorkflowExecution.spec``: the request, for both engines (S-13.1 merged with T-1.2).

Where a default stands: constants that are part of the language of a spec (a step is critical, a strategy is None) are
defaults of the schema, so that they show in the stored object. Durations and everything the configuration can change
(``executionConfig.*``, time-outs of steps) have no schema default: what is stored is what was written, the value in
force is computed here and shown in status (deadlineAt) and in the run.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from wfe_controller.api import rules as cel
from wfe_controller.api.durations import parse_duration
from wfe_controller.api.phases import Engine
from wfe_controller.api.schema import (
    DNS_LABEL,
    DNS_SUBDOMAIN,
    DURATION,
    DnsLabel,
    DnsSubdomain,
    Duration,
    Form,
    Namespace,
    SpecModel,
    Uid,
    extra,
    rules,
    text,
)
from wfe_controller.api.targets import MAX_LENGTH, Target, parse_target

DEFAULT_TIMEOUT = timedelta(minutes=30)
MIN_TIMEOUT = timedelta(minutes=1)
MAX_TIMEOUT = timedelta(hours=24)
MAX_PARAMETERS = 64
MAX_PARAMETER_KEY = 128
MAX_PARAMETER_VALUE = 32 * 1024
MAX_PARAMETERS_SUM = 256 * 1024
MAX_STEPS = 100
MAX_CONDITIONS_PER_STAGE = 20
MAX_SPEC_BYTES = 512 * 1024

# [host[:port]/]path[:tag][@digest]: no scheme, no spaces, lower-case path, as the distribution spec writes references.
IMAGE = Form(
    r"^((\[[0-9a-fA-F:]+\]|[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?)(:[0-9]+)?/)?"
    r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?(@sha256:[0-9a-f]{64})?$",
    "is not an OCI reference",
    "write [host[:port]/]path[:tag][@sha256:digest] without a scheme and without spaces",
)
DIGEST = Form(r"^sha256:[0-9a-f]{64}$", "is not a SHA-256 digest", "write sha256: followed by 64 lower-case hex digits")
CONDITION_NAME = Form(
    r"^[a-z][a-z0-9_]*$", "is not the name of a condition", "write snake_case, such as node_capacity_available"
)
ACTION = Form(
    r"^[A-Za-z][A-Za-z0-9_-]*$",
    "is not the name of an action",
    "write an action of the catalog, such as scale_deployment",
)
FORMS = {form.pattern: form for form in (IMAGE, DIGEST, CONDITION_NAME, ACTION, DNS_LABEL, DNS_SUBDOMAIN, DURATION)}
PARAMETER_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
"""What Tekton accepts as the name of a parameter."""

FreeObject = Annotated[dict[str, Any], Field(json_schema_extra=extra(preserve_unknown_fields=True))]


class ObjectReference(SpecModel):
    """A reference to the object this execution was requested by."""

    api_version: Annotated[str, Field(max_length=317)] | None = None
    kind: Annotated[str, Field(max_length=63)] | None = None
    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the remediation request; also the correlation id of the audit trail."""
    namespace: Namespace | None = None
    uid: Uid | None = None


class WorkflowRef(SpecModel):
    """Tekton engine: which pipeline to run, as an OCI bundle that holds a Pipeline named "workflow"."""

    model_config = ConfigDict(json_schema_extra=rules(*cel.WORKFLOW_REF))

    workflow_id: Annotated[str, Field(min_length=1, max_length=256)]
    """Catalog id of the workflow. Streaks and cooldowns are kept per target and workflow id; the version is ignored."""
    version: Annotated[str, Field(min_length=1, max_length=128)]
    """Version of the workflow in the catalog; recorded, never interpreted."""
    container_image: Annotated[str, text(IMAGE, 512)]
    """OCI reference of the bundle: [host[:port]/]path[:tag][@digest], without a scheme."""
    container_digest: Annotated[str, text(DIGEST, 71)] | None = None
    """Digest the bundle must have: sha256: and 64 lower-case hex digits. When given, exactly that bundle runs."""


class StepCondition(SpecModel):
    """A Rego condition around a step."""

    type: Annotated[str, text(CONDITION_NAME, 128)]
    """Name of the condition, snake_case."""
    description: Annotated[str, Field(max_length=512)] | None = None
    rego: Annotated[str, Field(max_length=8192)] | None = None
    """Inline module, or configmap:key:rule. Absent: the policy stored under the condition's name."""
    required: bool | None = None
    """Whether a failure blocks the step. State it: absent counts as false, with a warning."""
    timeout: Duration | None = None


ConditionList = Annotated[
    list[StepCondition], Field(max_length=MAX_CONDITIONS_PER_STAGE, json_schema_extra=extra(list_type="atomic"))
]


class RetryPolicy(SpecModel):
    """How often and how fast a failed step is tried again."""

    max_retries: Annotated[int, Field(ge=0, le=10, json_schema_extra={"format": "int32"})] = 0
    backoff: Literal["Exponential", "Linear", "Fixed"] = "Exponential"
    initial_delay: Duration | None = None
    """Default 30s."""
    max_delay: Duration | None = None
    """Default 5m."""
    retry_on: (
        Annotated[
            list[Annotated[str, Field(max_length=64)]],
            Field(max_length=12, json_schema_extra=extra(list_type="set")),
        ]
        | None
    ) = None
    """Failure reasons that are retried; default: the retryable ones."""


class RollbackParameters(SpecModel):
    """The declared way to undo a step, used when nothing better was captured before it ran."""

    action: Annotated[str, text(ACTION, 64)]
    parameters: FreeObject | None = None
    timeout: Duration | None = None


class Step(SpecModel):
    """One action of the workflow."""

    name: DnsLabel
    """Unique within the workflow."""
    action: Annotated[str, text(ACTION, 64)]
    """Catalog action, such as scale_deployment."""
    parameters: FreeObject | None = None
    """Arguments of the action, checked against the action's schema while planning."""
    depends_on: (
        Annotated[list[DnsLabel], Field(max_length=MAX_STEPS - 1, json_schema_extra=extra(list_type="set"))] | None
    ) = None
    """Names of the steps that must be done first."""
    critical_step: bool = True
    """False: the workflow goes on when this step fails."""
    timeout: Duration | None = None
    retry_policy: RetryPolicy | None = None
    rollback_parameters: RollbackParameters | None = None
    pre_conditions: ConditionList | None = None
    post_conditions: ConditionList | None = None
    when: ConditionList | None = None
    """Conditions that decide whether the step is skipped."""
    run_policy: Literal["OnSuccess", "OnFailure", "Always"] = "OnSuccess"
    dry_run: bool | None = None


class WorkflowDefinition(SpecModel):
    """Steps engine: the workflow itself."""

    name: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Id of the workflow for streaks and cooldowns; without it the hash of the definition serves."""
    version: Annotated[str, Field(max_length=128)] | None = None
    steps: Annotated[
        list[Step],
        Field(min_length=1, max_length=MAX_STEPS, json_schema_extra=extra(list_type="map", list_map_keys=["name"])),
    ]


class ExecutionConfig(SpecModel):
    """Limits of this execution."""

    timeout: Annotated[str, text(DURATION, 32, *cel.TIMEOUT)] | None = None
    """How long the work may take: 1m to 24h, default 30m. The default is applied by the controller, not stored."""
    service_account_name: DnsSubdomain | None = None
    """Tekton engine: the account of the run. Honoured only if the controller's configuration allows that name."""
    step_timeout_default: Duration | None = None
    """Steps engine: default 5m."""
    max_parallel_steps: Annotated[int, Field(ge=1, le=100, json_schema_extra={"format": "int32"})] | None = None
    """Steps engine: at most this many steps at once; never more than the controller's own limit."""
    drain_timeout: Duration | None = None
    """Steps engine: default 5m."""


class SafetyCheck(SpecModel):
    type: Literal["rbac", "capacity", "health", "network"]
    description: Annotated[str, Field(max_length=512)] | None = None
    required: bool = True


class ExecutionStrategy(SpecModel):
    """Steps engine: how the steps run."""

    mode: Literal["Parallel", "Sequential"] = "Parallel"
    approval_required: bool = False
    dry_run_first: bool = False
    safety_checks: (
        Annotated[list[SafetyCheck], Field(max_length=20, json_schema_extra=extra(list_type="atomic"))] | None
    ) = None


class RollbackStrategy(SpecModel):
    """Steps engine: what happens after a failure that changed something."""

    type: Literal["Automatic", "Manual", "None"] = "None"
    step_timeout: Duration | None = None
    """Default 5m."""
    timeout: Duration | None = None
    """Default twice the sum of the steps, at most 30m."""
    on_rollback_failure: Literal["StopBranch", "Continue"] = "StopBranch"
    require_reversible: bool = False
    """Refuse the workflow when a step cannot be undone."""


class AdaptiveOrchestration(SpecModel):
    """Steps engine: adjustments at run time."""

    optimization_enabled: bool = False
    learning_from_history: bool = False
    dynamic_step_adjustment: bool = False


class ConditionOverride(SpecModel):
    required: bool | None = None
    timeout: Duration | None = None


StageOverrides = Annotated[dict[str, ConditionOverride], Field(max_length=MAX_CONDITIONS_PER_STAGE)]


class ActionOverrides(SpecModel):
    pre: StageOverrides | None = None
    post: StageOverrides | None = None


class WorkflowExecutionSpec(SpecModel):
    """One remediation of one target resource. Immutable: write a new object to ask for something else."""

    model_config = ConfigDict(json_schema_extra=rules(*cel.SPEC))

    remediation_request_ref: ObjectReference
    target_resource: Annotated[str, Field(max_length=MAX_LENGTH, json_schema_extra=rules(*cel.TARGET_RESOURCE))]
    """What is remediated, and locked: [namespace/]kind[.group]/name."""
    workflow_ref: WorkflowRef | None = None
    workflow_definition: WorkflowDefinition | None = None
    parameters: (
        Annotated[
            dict[str, Annotated[str, Field(max_length=MAX_PARAMETER_VALUE, json_schema_extra={"nullable": True})]],
            Field(max_length=MAX_PARAMETERS, json_schema_extra=rules(*cel.PARAMETERS)),
        ]
        | None
    ) = None
    """Passed to the run untouched, as strings. Redacted wherever the controller prints them."""
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    """How sure the requester is, 0 to 1; recorded only."""
    rationale: Annotated[str, Field(max_length=8192)] | None = None
    """Why this workflow was chosen; recorded only."""
    execution_config: ExecutionConfig | None = None
    execution_strategy: ExecutionStrategy | None = None
    rollback_strategy: RollbackStrategy | None = None
    rollback_on_failure: bool | None = None
    """Short form of rollbackStrategy.type Automatic."""
    adaptive_orchestration: AdaptiveOrchestration | None = None
    condition_overrides: Annotated[dict[str, ActionOverrides], Field(max_length=32)] | None = None
    """By action, stage and condition: may only tighten."""

    @property
    def engine(self) -> Engine:
        return Engine.TEKTON if self.workflow_ref is not None else Engine.STEPS

    @property
    def target(self) -> Target:
        """The parsed target; raises TargetError only on a spec that was not validated."""
        return parse_target(self.target_resource)

    @property
    def timeout(self) -> timedelta:
        """T, the time the work may take; the default when none was written."""
        written = self.execution_config.timeout if self.execution_config else None
        return parse_duration(written) if written is not None else DEFAULT_TIMEOUT

    @property
    def service_account_name(self) -> str:
        """The account asked for, "" for none."""
        return (self.execution_config.service_account_name or "") if self.execution_config else ""

    @property
    def definition_hash(self) -> str:
        """64 hex digits over the definition with its defaults filled in; "" for the tekton engine."""
        if self.workflow_definition is None:
            return ""
        dump = self.workflow_definition.model_dump(mode="json", by_alias=True, exclude_none=True)
        text = json.dumps(dump, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def workflow_id(self) -> str:
        """What streaks and cooldowns are kept under, per target (SPEC 1.1)."""
        if self.workflow_ref is not None:
            return self.workflow_ref.workflow_id
        if self.workflow_definition is not None and self.workflow_definition.name:
            return self.workflow_definition.name
        return f"sha256:{self.definition_hash[:16]}"
