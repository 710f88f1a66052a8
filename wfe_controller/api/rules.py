"""The CEL rules of the CRDs. Each message names the field, the rule and the remedy.

Rules about the past (``oldSelf``) stand at the root of the schema: a rule placed on ``.spec`` or ``.status`` is not
evaluated when the field is removed, so ``spec: null`` followed by a new value would get through. Every rule of the API
server has a counterpart in wfe_controller.api.validation, because a spec can also come from an older CRD.
"""

from __future__ import annotations

from wfe_controller.api.durations import PATTERN as DURATION_PATTERN
from wfe_controller.api.phases import TERMINAL, Phase
from wfe_controller.api.schema import rule
from wfe_controller.api.targets import PATTERN, qualified_spellings


def _quoted(words: list[str]) -> str:
    return "[" + ",".join(f"'{word}'" for word in words) + "]"


BACKSLASH = "\\"
_NAMESPACED = _quoted(qualified_spellings(namespaced=True))
_CLUSTER = _quoted(qualified_spellings(namespaced=False))
_TERMINAL = _quoted([phase for phase in Phase if phase in TERMINAL])
_PARTS = "self.split('/')"
_CEL_PATTERN = PATTERN.replace(BACKSLASH, BACKSLASH * 2)

TARGET_RESOURCE = (
    rule(
        f"{_PARTS}.size() in [2, 3]",
        "targetResource must have 2 or 3 parts separated by '/': write namespace/kind/name, "
        "or kind/name for a cluster-scoped kind",
    ),
    rule(
        f"!({_PARTS}.size() in [2, 3]) || self.matches('{_CEL_PATTERN}')",
        "targetResource must be [namespace/]kind[.group]/name with no empty part: namespace a DNS label, kind letters "
        "and digits, name an object's name; write prod/deployment/web",
    ),
    rule(
        f"{_PARTS}.size() != 2 || !({_PARTS}[0].lowerAscii() in {_NAMESPACED})",
        "targetResource names a namespaced kind without a namespace: write namespace/kind/name",
    ),
    rule(
        f"{_PARTS}.size() != 3 || !({_PARTS}[1].lowerAscii() in {_CLUSTER})",
        "targetResource names a cluster-scoped kind with a namespace: write kind/name",
    ),
)

WORKFLOW_REF = (
    rule(
        "!has(self.containerDigest) || !self.containerImage.contains('@') || "
        "self.containerImage.endsWith('@' + self.containerDigest)",
        "containerDigest must equal the digest in containerImage: correct one of them, or leave the digest out of "
        "containerImage",
        field_path=".containerDigest",
    ),
)

TIMEOUT = (
    rule(
        f"!self.matches('{DURATION_PATTERN.replace(BACKSLASH, BACKSLASH * 2)}') || "
        "(duration(self) >= duration('1m') && duration(self) <= duration('24h'))",
        "is outside 1m to 24h: write a duration such as 30m, or leave it out for the default",
    ),
)

# The values are nullable in the schema only so that null gets as far as these rules: where it may not be null, the API
# server drops the key without a word, and the workflow would run with its default instead.
_STRINGS = "self.all(key, type(self[key]) == string)"
PARAMETERS = (
    rule(_STRINGS, "parameters must have strings as values, not null: write a string, or leave the key out"),
    rule(
        "self.all(key, size(key) > 0 && size(key) <= 128)",
        "parameters must have keys of 1 to 128 characters: shorten the key",
    ),
    rule(
        "self.all(key, size(key) == 0 || size(key) > 128 || key.matches('^[A-Za-z_][A-Za-z0-9_.-]*$'))",
        "parameters must have keys of letters, digits, '_', '-' and '.', a letter or '_' first: rename the key, "
        "such as REPLICA_COUNT",
    ),
    rule(
        f"!{_STRINGS} || self.map(key, size(key) + size(self[key])).sum() <= 262144",
        "parameters must have at most 262144 characters together, keys included: pass a reference instead of the data",
    ),
)

_STEPS_ONLY = ("executionStrategy", "adaptiveOrchestration", "conditionOverrides")
_STEPS_ONLY_CONFIG = ("stepTimeoutDefault", "maxParallelSteps", "drainTimeout")

SPEC = (
    rule(
        "has(self.workflowRef) != has(self.workflowDefinition)",
        "spec must have exactly one of workflowRef (tekton engine) and workflowDefinition (steps engine): "
        "keep one of them",
    ),
    rule(
        "!has(self.workflowRef) || ((!has(self.rollbackStrategy) || !has(self.rollbackStrategy.type) || "
        "self.rollbackStrategy.type == 'None') && (!has(self.rollbackOnFailure) || !self.rollbackOnFailure))",
        "rollbackStrategy and rollbackOnFailure need the steps engine, a pipeline cannot be rolled back: remove them, "
        "or use workflowDefinition",
    ),
    *(
        rule(
            f"!has(self.workflowRef) || !has(self.{field})",
            f"{field} needs the steps engine: remove it, or use workflowDefinition",
            field_path=f".{field}",
        )
        for field in _STEPS_ONLY
    ),
    rule(
        "!has(self.workflowRef) || !has(self.executionConfig) || !("
        + " || ".join(f"has(self.executionConfig.{field})" for field in _STEPS_ONLY_CONFIG)
        + ")",
        f"executionConfig.{', '.join(_STEPS_ONLY_CONFIG)} need the steps engine: remove them, or use "
        "workflowDefinition",
        field_path=".executionConfig",
    ),
    rule(
        "!has(self.workflowDefinition) || !has(self.executionConfig) || !has(self.executionConfig.serviceAccountName)",
        "executionConfig.serviceAccountName needs the tekton engine, each action has its own account: remove it",
        field_path=".executionConfig",
    ),
)


def _frozen(field: str) -> dict[str, str]:
    """Once the old phase is terminal, ``status.<field>`` neither changes nor comes nor goes."""
    old, new = f"oldSelf.status.{field}", f"self.status.{field}"
    ended = f"has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase in {_TERMINAL}"
    same = f"has(self.status) && (has({old}) ? (has({new}) && {new} == {old}) : !has({new}))"
    return rule(
        f"!({ended}) || ({same})",
        f"status.{field} is final once the phase is terminal: create a new WorkflowExecution instead",
        field_path=f".status.{field}",
    )


def _immutable_spec(remedy: str) -> dict[str, str]:
    """The spec never changes once it is there, and cannot be taken away."""
    return rule(
        "!has(oldSelf.spec) || (has(self.spec) && self.spec == oldSelf.spec)",
        f"spec is immutable: {remedy}",
        field_path=".spec",
    )


FINAL_FIELDS = ("phase", "startTime", "completionTime", "failureDetails", "skipDetails")

_RUN = "has({0}.status) && has({0}.status.pipelineRunRef)"
_NAMED = (
    f"{_RUN.format('oldSelf')} && has(oldSelf.status.pipelineRunRef.uid) && oldSelf.status.pipelineRunRef.uid != ''"
)

WORKFLOWEXECUTION_ROOT = (
    _immutable_spec("create a new WorkflowExecution instead"),
    *(_frozen(field) for field in FINAL_FIELDS),
    # Without the reference nothing remembers that a run was ever started, and a second one would be (SPEC 2.4). All of
    # it: pods are looked for in its namespace. One without a UID, which earlier releases wrote, is still to be filled.
    rule(
        f"!({_NAMED}) || (({_RUN.format('self')}) && self.status.pipelineRunRef == oldSelf.status.pipelineRunRef)",
        "status.pipelineRunRef stays as it is once a run is named: delete the WorkflowExecution to end its run",
        field_path=".status.pipelineRunRef",
    ),
)

TARGETLOCK_ROOT = (_immutable_spec("a lock belongs to one target for ever, the controller makes one for each"),)
