"""Bad specs: one wrong thing each, what the API server says to it, and what the controller says to it.

The controller checks everything again, because an object can be older than the CRD; where ``server`` is ACCEPTED, the
schema cannot say the rule (bytes instead of characters, names per kind), and the controller alone refuses, with
Failed/ConfigurationError. Used by the unit tier (parse_spec) and the integration tier (kubectl).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

DIGEST = "sha256:" + "0" * 64
REMOVE = object()
ACCEPTED: tuple[str, ...] = ()
NOT_CHECKED = (
    "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)
STRICT = (
    'Error from server (BadRequest): error when creating "STDIN": WorkflowExecution in version "v1alpha1" '
    "cannot be handled as a WorkflowExecution: strict decoding error: "
)
TEKTON: dict[str, Any] = {
    "remediationRequestRef": {"name": "rr-1"},
    "targetResource": "prod/deployment/web",
    "workflowRef": {"workflowId": "restart", "version": "1.2", "containerImage": "reg.example/wf/restart:v1"},
    "parameters": {"REPLICAS": "3"},
}
STEPS: dict[str, Any] = {
    "remediationRequestRef": {"name": "rr-1"},
    "targetResource": "prod/deployment/web",
    "workflowDefinition": {"steps": [{"name": "scale", "action": "scale_deployment"}]},
}


@dataclass(frozen=True)
class Case:
    """``path`` below spec of a good object is set to ``value`` (or removed)."""

    id: str
    base: dict[str, Any]
    path: tuple[str, ...]
    value: Any
    server: tuple[str, ...]
    """The lines of kubectl's message, without its first words; ACCEPTED when the server takes it."""
    controller: str
    """The message of InvalidSpec."""

    def build(self, name: str = "bad", namespace: str = "default") -> dict[str, Any]:
        """The whole object."""
        obj: dict[str, Any] = {
            "apiVersion": "kubernaut.ai/v1alpha1",
            "kind": "WorkflowExecution",
            "metadata": {"name": name, "namespace": namespace},
            "spec": copy.deepcopy(self.base),
        }
        node = obj
        *parents, last = ("spec", *self.path)
        for part in parents:
            node = node[part]
        if self.value is REMOVE:
            del node[last]
        else:
            node[last] = self.value
        return obj


def steps(**step: Any) -> list[dict[str, Any]]:
    """One step, good but for what is given."""
    return [{"name": "a", "action": "cordon_node", **step}]


CASES = [
    Case(
        "target-missing",
        TEKTON,
        ("targetResource",),
        REMOVE,
        (
            "spec.targetResource: Required value",
            NOT_CHECKED,
        ),
        "spec.targetResource is required: add targetResource",
    ),
    Case(
        "target-null",
        TEKTON,
        ("targetResource",),
        None,
        (
            "spec.targetResource: Required value",
            NOT_CHECKED,
        ),
        "spec.targetResource is null, not a string: write a string",
    ),
    Case(
        "target-number",
        TEKTON,
        ("targetResource",),
        3,
        (
            (
                'spec.targetResource: Invalid value: "integer": spec.targetResource in body must be of '
                'type string: "integer"'
            ),
            NOT_CHECKED,
        ),
        "spec.targetResource 3 is a number, not a string: write a string",
    ),
    Case(
        "target-empty",
        TEKTON,
        ("targetResource",),
        "",
        (
            (
                'spec.targetResource: Invalid value: "": targetResource must have 2 or 3 parts separated '
                "by '/': write namespace/kind/name, or kind/name for a cluster-scoped kind"
            ),
        ),
        ('spec.targetResource "" is empty: write namespace/kind/name, or kind/name for a cluster-scoped kind'),
    ),
    Case(
        "target-one-part",
        TEKTON,
        ("targetResource",),
        "web",
        (
            (
                'spec.targetResource: Invalid value: "web": targetResource must have 2 or 3 parts '
                "separated by '/': write namespace/kind/name, or kind/name for a cluster-scoped kind"
            ),
        ),
        (
            "spec.targetResource \"web\" has 1 part, 2 or 3 separated by '/' are allowed: write "
            "namespace/kind/name, or kind/name for a cluster-scoped kind"
        ),
    ),
    Case(
        "target-four-parts",
        TEKTON,
        ("targetResource",),
        "a/prod/deployment/web",
        (
            (
                'spec.targetResource: Invalid value: "a/prod/deployment/web": targetResource must have 2 '
                "or 3 parts separated by '/': write namespace/kind/name, or kind/name for a cluster-scoped "
                "kind"
            ),
        ),
        (
            "spec.targetResource \"a/prod/deployment/web\" has 4 parts, 2 or 3 separated by '/' are "
            "allowed: write namespace/kind/name, or kind/name for a cluster-scoped kind"
        ),
    ),
    Case(
        "target-empty-part",
        TEKTON,
        ("targetResource",),
        "prod//web",
        (
            (
                'spec.targetResource: Invalid value: "prod//web": targetResource must be '
                "[namespace/]kind[.group]/name with no empty part: namespace a DNS label, kind letters and "
                "digits, name an object's name; write prod/deployment/web"
            ),
        ),
        (
            'spec.targetResource "prod//web" has an empty part: write namespace/kind/name, or '
            "kind/name for a cluster-scoped kind"
        ),
    ),
    Case(
        "target-namespaced-without-namespace",
        TEKTON,
        ("targetResource",),
        "deployment/web",
        (
            (
                'spec.targetResource: Invalid value: "deployment/web": targetResource names a namespaced '
                "kind without a namespace: write namespace/kind/name"
            ),
        ),
        (
            'spec.targetResource "deployment/web" has no namespace, but deployment is a namespaced '
            "kind: write <namespace>/deployment/<name>"
        ),
    ),
    Case(
        "target-short-name-without-namespace",
        TEKTON,
        ("targetResource",),
        "deploy/web",
        (
            (
                'spec.targetResource: Invalid value: "deploy/web": targetResource names a namespaced kind '
                "without a namespace: write namespace/kind/name"
            ),
        ),
        (
            'spec.targetResource "deploy/web" has no namespace, but deployment is a namespaced kind: '
            "write <namespace>/deployment/<name>"
        ),
    ),
    Case(
        "target-cluster-scoped-with-namespace",
        TEKTON,
        ("targetResource",),
        "prod/Node/worker-1",
        (
            (
                'spec.targetResource: Invalid value: "prod/Node/worker-1": targetResource names a '
                "cluster-scoped kind with a namespace: write kind/name"
            ),
        ),
        (
            'spec.targetResource "prod/Node/worker-1" has a namespace, but node is a cluster-scoped '
            "kind: write node/<name>"
        ),
    ),
    Case(
        "target-group-without-namespace",
        TEKTON,
        ("targetResource",),
        "Deployment.apps/web",
        (
            (
                'spec.targetResource: Invalid value: "Deployment.apps/web": targetResource names a '
                "namespaced kind without a namespace: write namespace/kind/name"
            ),
        ),
        (
            'spec.targetResource "Deployment.apps/web" has no namespace, but deployment is a '
            "namespaced kind: write <namespace>/deployment/<name>"
        ),
    ),
    Case(
        "target-upper-case-namespace",
        TEKTON,
        ("targetResource",),
        "Prod/deployment/web",
        (
            (
                'spec.targetResource: Invalid value: "Prod/deployment/web": targetResource must be '
                "[namespace/]kind[.group]/name with no empty part: namespace a DNS label, kind letters and "
                "digits, name an object's name; write prod/deployment/web"
            ),
        ),
        (
            'spec.targetResource "Prod/deployment/web" has the namespace "Prod", which is not a DNS '
            "label: use at most 63 lower-case letters, digits and '-', a letter or digit first and last"
        ),
    ),
    Case(
        "target-kind-with-digit-first",
        TEKTON,
        ("targetResource",),
        "prod/2pods/web",
        (
            (
                'spec.targetResource: Invalid value: "prod/2pods/web": targetResource must be '
                "[namespace/]kind[.group]/name with no empty part: namespace a DNS label, kind letters and "
                "digits, name an object's name; write prod/deployment/web"
            ),
        ),
        (
            'spec.targetResource "prod/2pods/web" has the kind "2pods", which is not a kind\'s name: '
            "use at most 63 letters and digits, a letter first"
        ),
    ),
    Case(
        "target-space",
        TEKTON,
        ("targetResource",),
        "prod/deployment/web server",
        (
            (
                'spec.targetResource: Invalid value: "prod/deployment/web server": targetResource must be '
                "[namespace/]kind[.group]/name with no empty part: namespace a DNS label, kind letters and "
                "digits, name an object's name; write prod/deployment/web"
            ),
        ),
        (
            'spec.targetResource "prod/deployment/web server" has the name "web server", which is not '
            "an object's name: use at most 253 letters, digits, '-', '.', '_' and ':', a letter or "
            "digit first and last"
        ),
    ),
    Case(
        "target-newline",
        TEKTON,
        ("targetResource",),
        "prod/deployment/web\n",
        (
            (
                'spec.targetResource: Invalid value: "prod/deployment/web\\n": targetResource must be '
                "[namespace/]kind[.group]/name with no empty part: namespace a DNS label, kind letters and "
                "digits, name an object's name; write prod/deployment/web"
            ),
        ),
        (
            'spec.targetResource "prod/deployment/web\\n" has the name "web\\n", which is not an '
            "object's name: use at most 253 letters, digits, '-', '.', '_' and ':', a letter or digit "
            "first and last"
        ),
    ),
    Case(
        "target-pod-name-upper-case",
        TEKTON,
        ("targetResource",),
        "prod/pod/Web",
        ACCEPTED,
        (
            'spec.targetResource "prod/pod/Web" has the name "Web", which no pod can have: use '
            "lower-case letters, digits, '-' and '.', a letter or digit first and last"
        ),
    ),
    Case(
        "target-namespace-too-long",
        TEKTON,
        ("targetResource",),
        "n" * 64 + "/deployment/web",
        (
            (
                "spec.targetResource: Invalid value: "
                '"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn/deployment/web": '
                "targetResource must be [namespace/]kind[.group]/name with no empty part: namespace a DNS "
                "label, kind letters and digits, name an object's name; write prod/deployment/web"
            ),
        ),
        (
            'spec.targetResource "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn..." '
            'has the namespace "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", '
            "which is not a DNS label: use at most 63 lower-case letters, digits and '-', a letter or "
            "digit first and last"
        ),
    ),
    Case(
        "target-too-long",
        TEKTON,
        ("targetResource",),
        "prod/deployment/" + "x" * 600,
        (
            "spec.targetResource: Too long: may not be more than 512 bytes",
            NOT_CHECKED,
        ),
        (
            'spec.targetResource "prod/deployment/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..." '
            "has 616 characters, at most 512 are allowed: shorten it"
        ),
    ),
    Case(
        "image-missing",
        TEKTON,
        ("workflowRef", "containerImage"),
        REMOVE,
        (
            "spec.workflowRef.containerImage: Required value",
            NOT_CHECKED,
        ),
        "spec.workflowRef.containerImage is required: add containerImage",
    ),
    Case(
        "image-empty",
        TEKTON,
        ("workflowRef", "containerImage"),
        "",
        (
            (
                'spec.workflowRef.containerImage: Invalid value: "": is not an OCI reference: write '
                "[host[:port]/]path[:tag][@sha256:digest] without a scheme and without spaces"
            ),
        ),
        (
            'spec.workflowRef.containerImage "" is not an OCI reference: write '
            "[host[:port]/]path[:tag][@sha256:digest] without a scheme and without spaces"
        ),
    ),
    Case(
        "image-scheme",
        TEKTON,
        ("workflowRef", "containerImage"),
        "https://reg.example/wf/restart:v1",
        (
            (
                'spec.workflowRef.containerImage: Invalid value: "https://reg.example/wf/restart:v1": is '
                "not an OCI reference: write [host[:port]/]path[:tag][@sha256:digest] without a scheme and "
                "without spaces"
            ),
        ),
        (
            'spec.workflowRef.containerImage "https://reg.example/wf/restart:v1" is not an OCI '
            "reference: write [host[:port]/]path[:tag][@sha256:digest] without a scheme and without "
            "spaces"
        ),
    ),
    Case(
        "image-space",
        TEKTON,
        ("workflowRef", "containerImage"),
        "reg.example/wf/restart :v1",
        (
            (
                'spec.workflowRef.containerImage: Invalid value: "reg.example/wf/restart :v1": is not an '
                "OCI reference: write [host[:port]/]path[:tag][@sha256:digest] without a scheme and "
                "without spaces"
            ),
        ),
        (
            'spec.workflowRef.containerImage "reg.example/wf/restart :v1" is not an OCI reference: '
            "write [host[:port]/]path[:tag][@sha256:digest] without a scheme and without spaces"
        ),
    ),
    Case(
        "image-upper-case",
        TEKTON,
        ("workflowRef", "containerImage"),
        "reg.example/WF/restart:v1",
        (
            (
                'spec.workflowRef.containerImage: Invalid value: "reg.example/WF/restart:v1": is not an '
                "OCI reference: write [host[:port]/]path[:tag][@sha256:digest] without a scheme and "
                "without spaces"
            ),
        ),
        (
            'spec.workflowRef.containerImage "reg.example/WF/restart:v1" is not an OCI reference: '
            "write [host[:port]/]path[:tag][@sha256:digest] without a scheme and without spaces"
        ),
    ),
    Case(
        "image-bad-digest",
        TEKTON,
        ("workflowRef", "containerImage"),
        "reg.example/wf/restart@sha256:abc",
        (
            (
                'spec.workflowRef.containerImage: Invalid value: "reg.example/wf/restart@sha256:abc": is '
                "not an OCI reference: write [host[:port]/]path[:tag][@sha256:digest] without a scheme and "
                "without spaces"
            ),
        ),
        (
            'spec.workflowRef.containerImage "reg.example/wf/restart@sha256:abc" is not an OCI '
            "reference: write [host[:port]/]path[:tag][@sha256:digest] without a scheme and without "
            "spaces"
        ),
    ),
    Case(
        "image-too-long",
        TEKTON,
        ("workflowRef", "containerImage"),
        "reg.example/" + "x" * 600,
        (
            "spec.workflowRef.containerImage: Too long: may not be more than 512 bytes",
            NOT_CHECKED,
        ),
        (
            "spec.workflowRef.containerImage "
            '"reg.example/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..." has 612 characters, at '
            "most 512 are allowed: shorten it"
        ),
    ),
    Case(
        "digest-short",
        TEKTON,
        ("workflowRef", "containerDigest"),
        "sha256:abc",
        (
            (
                'spec.workflowRef.containerDigest: Invalid value: "sha256:abc": is not a SHA-256 digest: '
                "write sha256: followed by 64 lower-case hex digits"
            ),
        ),
        (
            'spec.workflowRef.containerDigest "sha256:abc" is not a SHA-256 digest: write sha256: '
            "followed by 64 lower-case hex digits"
        ),
    ),
    Case(
        "digest-upper-case",
        TEKTON,
        ("workflowRef", "containerDigest"),
        "sha256:" + "A" * 64,
        (
            (
                "spec.workflowRef.containerDigest: Invalid value: "
                '"sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA": is not a '
                "SHA-256 digest: write sha256: followed by 64 lower-case hex digits"
            ),
        ),
        (
            "spec.workflowRef.containerDigest "
            '"sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA..." is not a SHA-256 '
            "digest: write sha256: followed by 64 lower-case hex digits"
        ),
    ),
    Case(
        "digest-other-algorithm",
        TEKTON,
        ("workflowRef", "containerDigest"),
        "sha512:" + "0" * 64,
        (
            (
                "spec.workflowRef.containerDigest: Invalid value: "
                '"sha512:0000000000000000000000000000000000000000000000000000000000000000": is not a '
                "SHA-256 digest: write sha256: followed by 64 lower-case hex digits"
            ),
        ),
        (
            "spec.workflowRef.containerDigest "
            '"sha512:000000000000000000000000000000000000000000000000000000..." is not a SHA-256 '
            "digest: write sha256: followed by 64 lower-case hex digits"
        ),
    ),
    Case(
        "digest-mismatch",
        TEKTON,
        ("workflowRef",),
        {
            "workflowId": "restart",
            "version": "1",
            "containerImage": "reg.example/wf/restart@sha256:" + "1" * 64,
            "containerDigest": DIGEST,
        },
        (
            (
                "spec.workflowRef.containerDigest: Invalid value: containerDigest must equal the digest in "
                "containerImage: correct one of them, or leave the digest out of containerImage"
            ),
        ),
        (
            "spec.workflowRef.containerDigest "
            '"sha256:000000000000000000000000000000000000000000000000000000..." is not the digest in '
            'containerImage ("sha256:111111111111111111111111111111111111111111111111111111..."): '
            "correct one of them, or leave the digest out of containerImage"
        ),
    ),
    Case(
        "workflow-id-missing",
        TEKTON,
        ("workflowRef", "workflowId"),
        REMOVE,
        (
            "spec.workflowRef.workflowId: Required value",
            NOT_CHECKED,
        ),
        "spec.workflowRef.workflowId is required: add workflowId",
    ),
    Case(
        "workflow-id-empty",
        TEKTON,
        ("workflowRef", "workflowId"),
        "",
        (
            (
                'spec.workflowRef.workflowId: Invalid value: "": spec.workflowRef.workflowId in body '
                "should be at least 1 chars long"
            ),
        ),
        'spec.workflowRef.workflowId "" is empty: give it a value',
    ),
    Case(
        "workflow-id-too-long",
        TEKTON,
        ("workflowRef", "workflowId"),
        "w" * 257,
        (
            "spec.workflowRef.workflowId: Too long: may not be more than 256 bytes",
            NOT_CHECKED,
        ),
        (
            "spec.workflowRef.workflowId "
            '"wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww..." has 257 characters, at '
            "most 256 are allowed: shorten it"
        ),
    ),
    Case(
        "version-missing",
        TEKTON,
        ("workflowRef", "version"),
        REMOVE,
        (
            "spec.workflowRef.version: Required value",
            NOT_CHECKED,
        ),
        "spec.workflowRef.version is required: add version",
    ),
    Case(
        "version-number",
        TEKTON,
        ("workflowRef", "version"),
        1.2,
        (
            (
                'spec.workflowRef.version: Invalid value: "number": spec.workflowRef.version in body must '
                'be of type string: "number"'
            ),
            NOT_CHECKED,
        ),
        "spec.workflowRef.version 1.2 is a number, not a string: write a string",
    ),
    Case(
        "workflow-ref-list",
        TEKTON,
        ("workflowRef",),
        [],
        (
            ('spec.workflowRef: Invalid value: "array": spec.workflowRef in body must be of type object: "array"'),
            NOT_CHECKED,
        ),
        "spec.workflowRef <list with 0 items> is a list, not an object: write an object",
    ),
    Case(
        "no-engine",
        TEKTON,
        ("workflowRef",),
        REMOVE,
        (
            (
                "spec: Invalid value: spec must have exactly one of workflowRef (tekton engine) and "
                "workflowDefinition (steps engine): keep one of them"
            ),
        ),
        (
            "spec has neither workflowRef (tekton engine) nor workflowDefinition (steps engine): write "
            "exactly one of them"
        ),
    ),
    Case(
        "both-engines",
        TEKTON,
        ("workflowDefinition",),
        {"steps": [{"name": "a", "action": "cordon_node"}]},
        (
            (
                "spec: Invalid value: spec must have exactly one of workflowRef (tekton engine) and "
                "workflowDefinition (steps engine): keep one of them"
            ),
        ),
        ("spec has both workflowRef (tekton engine) and workflowDefinition (steps engine): write exactly one of them"),
    ),
    Case(
        "request-ref-missing",
        TEKTON,
        ("remediationRequestRef",),
        REMOVE,
        (
            "spec.remediationRequestRef: Required value",
            NOT_CHECKED,
        ),
        "spec.remediationRequestRef is required: add remediationRequestRef",
    ),
    Case(
        "request-ref-without-name",
        TEKTON,
        ("remediationRequestRef",),
        {"kind": "RemediationRequest"},
        (
            "spec.remediationRequestRef.name: Required value",
            NOT_CHECKED,
        ),
        "spec.remediationRequestRef.name is required: add name",
    ),
    Case(
        "request-ref-string",
        TEKTON,
        ("remediationRequestRef",),
        "rr-1",
        (
            (
                'spec.remediationRequestRef: Invalid value: "string": spec.remediationRequestRef in body '
                'must be of type object: "string"'
            ),
            NOT_CHECKED,
        ),
        'spec.remediationRequestRef "rr-1" is a string, not an object: write an object',
    ),
    Case(
        "parameter-number",
        TEKTON,
        ("parameters", "REPLICAS"),
        3,
        (
            (
                'spec.parameters.REPLICAS: Invalid value: "integer": spec.parameters.REPLICAS in body must '
                'be of type string: "integer"'
            ),
            NOT_CHECKED,
        ),
        "spec.parameters[REPLICAS] <redacted number> is a number, not a string: write a string",
    ),
    Case(
        "parameter-boolean",
        TEKTON,
        ("parameters", "FORCE"),
        True,
        (
            (
                'spec.parameters.FORCE: Invalid value: "boolean": spec.parameters.FORCE in body must be of '
                'type string: "boolean"'
            ),
            NOT_CHECKED,
        ),
        "spec.parameters[FORCE] <redacted boolean> is a boolean, not a string: write a string",
    ),
    Case(
        "parameter-null",
        TEKTON,
        ("parameters", "REPLICAS"),
        None,
        (
            (
                "spec.parameters: Invalid value: parameters must have strings as values, not null: write a "
                "string, or leave the key out"
            ),
        ),
        "spec.parameters[REPLICAS] is null, not a string: write a string",
    ),
    Case(
        "parameter-object",
        TEKTON,
        ("parameters", "REPLICAS"),
        {"min": 1},
        (STRICT + 'unknown field "spec.parameters.REPLICAS.min"',),
        "spec.parameters[REPLICAS] <redacted object> is an object, not a string: write a string",
    ),
    Case(
        "parameters-list",
        TEKTON,
        ("parameters",),
        ["REPLICAS=3"],
        (
            ('spec.parameters: Invalid value: "array": spec.parameters in body must be of type object: "array"'),
            NOT_CHECKED,
        ),
        "spec.parameters <list with 1 item> is a list, not an object: write an object",
    ),
    Case(
        "parameters-too-many",
        TEKTON,
        ("parameters",),
        {f"P{i}": "v" for i in range(65)},
        (
            "spec.parameters: Too many: 65: must have at most 64 items",
            NOT_CHECKED,
        ),
        "spec.parameters has 65 entries, at most 64 are allowed: remove some",
    ),
    Case(
        "parameter-key-too-long",
        TEKTON,
        ("parameters",),
        {"K" * 129: "v"},
        (("spec.parameters: Invalid value: parameters must have keys of 1 to 128 characters: shorten the key"),),
        (
            "spec.parameters[KKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKK...] has a "
            "key of 129 bytes, 1 to 128 are allowed: rename the key"
        ),
    ),
    Case(
        "parameter-key-empty",
        TEKTON,
        ("parameters",),
        {"": "v"},
        (("spec.parameters: Invalid value: parameters must have keys of 1 to 128 characters: shorten the key"),),
        "spec.parameters[] has a key of 0 bytes, 1 to 128 are allowed: rename the key",
    ),
    Case(
        "parameter-key-with-space",
        TEKTON,
        ("parameters",),
        {"MY KEY": "v"},
        (
            (
                "spec.parameters: Invalid value: parameters must have keys of letters, digits, '_', '-' "
                "and '.', a letter or '_' first: rename the key, such as REPLICA_COUNT"
            ),
        ),
        (
            "spec.parameters[MY KEY] has a key that is no parameter name: use letters, digits, '_', "
            "'-' and '.', a letter or '_' first, such as REPLICA_COUNT"
        ),
    ),
    Case(
        "parameter-value-too-long",
        TEKTON,
        ("parameters", "BIG"),
        "x" * 32769,
        (
            "spec.parameters.BIG: Too long: may not be more than 32768 bytes",
            NOT_CHECKED,
        ),
        (
            "spec.parameters[BIG] <redacted, 32769 characters> has 32769 characters, at most 32768 are "
            "allowed: shorten it"
        ),
    ),
    Case(
        "parameter-value-too-many-bytes",
        TEKTON,
        ("parameters", "BIG"),
        "ü" * 20000,
        ACCEPTED,
        (
            "spec.parameters[BIG] <redacted, 20000 characters> has 40000 bytes, at most 32768 are "
            "allowed: pass a reference instead of the data"
        ),
    ),
    Case(
        "parameters-sum",
        TEKTON,
        ("parameters",),
        {f"P{i}": "x" * 32000 for i in range(9)},
        (
            (
                "spec.parameters: Invalid value: parameters must have at most 262144 characters together, "
                "keys included: pass a reference instead of the data"
            ),
        ),
        (
            "spec.parameters has 288018 bytes in keys and values, at most 262144 are allowed: pass "
            "references instead of data"
        ),
    ),
    Case(
        "parameters-sum-in-bytes",
        TEKTON,
        ("parameters",),
        {f"P{i}": "ü" * 16000 for i in range(9)},
        ACCEPTED,
        (
            "spec.parameters has 288018 bytes in keys and values, at most 262144 are allowed: pass "
            "references instead of data"
        ),
    ),
    Case(
        "confidence-above-one",
        TEKTON,
        ("confidence",),
        1.5,
        (("spec.confidence: Invalid value: 1.5: spec.confidence in body should be less than or equal to 1"),),
        "spec.confidence 1.5 is more than 1: write 1 or less",
    ),
    Case(
        "confidence-negative",
        TEKTON,
        ("confidence",),
        -0.1,
        (("spec.confidence: Invalid value: -0.1: spec.confidence in body should be greater than or equal to 0"),),
        "spec.confidence -0.1 is less than 0: write 0 or more",
    ),
    Case(
        "confidence-string",
        TEKTON,
        ("confidence",),
        "0.9",
        (
            ('spec.confidence: Invalid value: "string": spec.confidence in body must be of type number: "string"'),
            NOT_CHECKED,
        ),
        'spec.confidence "0.9" is a string, not a number: write a number',
    ),
    Case(
        "rationale-too-long",
        TEKTON,
        ("rationale",),
        "x" * 8193,
        (
            "spec.rationale: Too long: may not be more than 8192 bytes",
            NOT_CHECKED,
        ),
        (
            'spec.rationale "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..." has '
            "8193 characters, at most 8192 are allowed: shorten it"
        ),
    ),
    Case(
        "timeout-without-unit",
        TEKTON,
        ("executionConfig",),
        {"timeout": "30"},
        (
            (
                'spec.executionConfig.timeout: Invalid value: "30": is not a duration: write a number with '
                "a unit (ms, s, m, h), such as 30m or 1h30m"
            ),
        ),
        (
            'spec.executionConfig.timeout "30" is not a duration: write a number with a unit (ms, s, '
            "m, h), such as 30m or 1h30m"
        ),
    ),
    Case(
        "timeout-days",
        TEKTON,
        ("executionConfig",),
        {"timeout": "1d"},
        (
            (
                'spec.executionConfig.timeout: Invalid value: "1d": is not a duration: write a number with '
                "a unit (ms, s, m, h), such as 30m or 1h30m"
            ),
        ),
        (
            'spec.executionConfig.timeout "1d" is not a duration: write a number with a unit (ms, s, '
            "m, h), such as 30m or 1h30m"
        ),
    ),
    Case(
        "timeout-number",
        TEKTON,
        ("executionConfig",),
        {"timeout": 1800},
        (
            (
                'spec.executionConfig.timeout: Invalid value: "integer": spec.executionConfig.timeout in '
                'body must be of type string: "integer"'
            ),
            NOT_CHECKED,
        ),
        "spec.executionConfig.timeout 1800 is a number, not a string: write a string",
    ),
    Case(
        "timeout-too-short",
        TEKTON,
        ("executionConfig",),
        {"timeout": "59s"},
        (
            (
                'spec.executionConfig.timeout: Invalid value: "59s": is outside 1m to 24h: write a '
                "duration such as 30m, or leave it out for the default"
            ),
        ),
        (
            'spec.executionConfig.timeout "59s" is outside 1m to 24h: write a duration such as 30m, or '
            "leave it out for the default"
        ),
    ),
    Case(
        "timeout-too-long",
        TEKTON,
        ("executionConfig",),
        {"timeout": "24h1s"},
        (
            (
                'spec.executionConfig.timeout: Invalid value: "24h1s": is outside 1m to 24h: write a '
                "duration such as 30m, or leave it out for the default"
            ),
        ),
        (
            'spec.executionConfig.timeout "24h1s" is outside 1m to 24h: write a duration such as 30m, '
            "or leave it out for the default"
        ),
    ),
    Case(
        "timeout-negative",
        TEKTON,
        ("executionConfig",),
        {"timeout": "-5m"},
        (
            (
                'spec.executionConfig.timeout: Invalid value: "-5m": is not a duration: write a number '
                "with a unit (ms, s, m, h), such as 30m or 1h30m"
            ),
        ),
        (
            'spec.executionConfig.timeout "-5m" is not a duration: write a number with a unit (ms, s, '
            "m, h), such as 30m or 1h30m"
        ),
    ),
    Case(
        "timeout-absurd",
        TEKTON,
        ("executionConfig",),
        {"timeout": "9" * 30 + "h"},
        (
            (
                'spec.executionConfig.timeout: Invalid value: "999999999999999999999999999999h": is not a '
                "duration: write a number with a unit (ms, s, m, h), such as 30m or 1h30m"
            ),
        ),
        (
            'spec.executionConfig.timeout "999999999999999999999999999999h" is not a duration: write a '
            "number with a unit (ms, s, m, h), such as 30m or 1h30m"
        ),
    ),
    Case(
        "service-account-upper-case",
        TEKTON,
        ("executionConfig",),
        {"serviceAccountName": "Runner"},
        (
            (
                'spec.executionConfig.serviceAccountName: Invalid value: "Runner": is not a DNS subdomain: '
                "use lower-case letters, digits, '-' and '.', a letter or digit first and last"
            ),
        ),
        (
            'spec.executionConfig.serviceAccountName "Runner" is not a DNS subdomain: use lower-case '
            "letters, digits, '-' and '.', a letter or digit first and last"
        ),
    ),
    Case(
        "service-account-for-steps",
        STEPS,
        ("executionConfig",),
        {"serviceAccountName": "runner"},
        (
            (
                "spec.executionConfig: Invalid value: executionConfig.serviceAccountName needs the tekton "
                "engine, each action has its own account: remove it"
            ),
        ),
        (
            'spec.executionConfig.serviceAccountName "runner" needs the tekton engine, each action has '
            "its own account: remove it"
        ),
    ),
    Case(
        "rollback-for-tekton",
        TEKTON,
        ("rollbackStrategy",),
        {"type": "Automatic"},
        (
            (
                "spec: Invalid value: rollbackStrategy and rollbackOnFailure need the steps engine, a "
                "pipeline cannot be rolled back: remove them, or use workflowDefinition"
            ),
        ),
        (
            'spec.rollbackStrategy.type "Automatic" needs the steps engine, a pipeline cannot be '
            "rolled back: remove it, or use workflowDefinition"
        ),
    ),
    Case(
        "rollback-on-failure-for-tekton",
        TEKTON,
        ("rollbackOnFailure",),
        True,
        (
            (
                "spec: Invalid value: rollbackStrategy and rollbackOnFailure need the steps engine, a "
                "pipeline cannot be rolled back: remove them, or use workflowDefinition"
            ),
        ),
        (
            "spec.rollbackOnFailure true needs the steps engine, a pipeline cannot be rolled back: "
            "remove it, or use workflowDefinition"
        ),
    ),
    Case(
        "strategy-for-tekton",
        TEKTON,
        ("executionStrategy",),
        {"mode": "Sequential"},
        (
            (
                "spec.executionStrategy: Invalid value: executionStrategy needs the steps engine: remove "
                "it, or use workflowDefinition"
            ),
        ),
        "spec.executionStrategy needs the steps engine: remove it, or use workflowDefinition",
    ),
    Case(
        "parallel-steps-for-tekton",
        TEKTON,
        ("executionConfig",),
        {"maxParallelSteps": 2},
        (
            (
                "spec.executionConfig: Invalid value: executionConfig.stepTimeoutDefault, "
                "maxParallelSteps, drainTimeout need the steps engine: remove them, or use "
                "workflowDefinition"
            ),
        ),
        ("spec.executionConfig.maxParallelSteps 2 needs the steps engine: remove it, or use workflowDefinition"),
    ),
    Case(
        "unknown-field",
        TEKTON,
        ("targetRessource",),
        "prod/deployment/web",
        (STRICT + 'unknown field "spec.targetRessource"',),
        ("spec.targetRessource is not a known field: remove it, or correct its name (kubectl explain wfe.spec)"),
    ),
    Case(
        "unknown-field-in-workflow-ref",
        TEKTON,
        ("workflowRef", "image"),
        "reg.example/wf/restart:v1",
        (STRICT + 'unknown field "spec.workflowRef.image"',),
        ("spec.workflowRef.image is not a known field: remove it, or correct its name (kubectl explain wfe.spec)"),
    ),
    Case(
        "unknown-field-in-config",
        TEKTON,
        ("executionConfig",),
        {"timeOut": "30m"},
        (STRICT + 'unknown field "spec.executionConfig.timeOut"',),
        (
            "spec.executionConfig.timeOut is not a known field: remove it, or correct its name "
            "(kubectl explain wfe.spec)"
        ),
    ),
    Case(
        "spec-missing",
        TEKTON,
        (),
        REMOVE,
        (
            "spec: Required value",
            NOT_CHECKED,
        ),
        "spec is required: write a spec (kubectl explain wfe.spec)",
    ),
    Case(
        "spec-list",
        TEKTON,
        (),
        [],
        (
            'spec: Invalid value: "array": spec in body must be of type object: "array"',
            NOT_CHECKED,
        ),
        "spec is a list, not an object: write a spec (kubectl explain wfe.spec)",
    ),
    Case(
        "steps-empty",
        STEPS,
        ("workflowDefinition", "steps"),
        [],
        (
            (
                "spec.workflowDefinition.steps: Invalid value: 0: spec.workflowDefinition.steps in body "
                "should have at least 1 items"
            ),
        ),
        "spec.workflowDefinition.steps <list with 0 items> is empty: give it a value",
    ),
    Case(
        "steps-missing",
        STEPS,
        ("workflowDefinition",),
        {"name": "x"},
        (
            "spec.workflowDefinition.steps: Required value",
            NOT_CHECKED,
        ),
        "spec.workflowDefinition.steps is required: add steps",
    ),
    Case(
        "steps-too-many",
        STEPS,
        ("workflowDefinition", "steps"),
        [{"name": f"s{i}", "action": "cordon_node"} for i in range(101)],
        (
            "spec.workflowDefinition.steps: Too many: 101: must have at most 100 items",
            NOT_CHECKED,
        ),
        "spec.workflowDefinition.steps has 101 entries, at most 100 are allowed: remove some",
    ),
    Case(
        "steps-same-name",
        STEPS,
        ("workflowDefinition", "steps"),
        [{"name": "a", "action": "cordon_node"}, {"name": "a", "action": "drain_node"}],
        ('spec.workflowDefinition.steps[1]: Duplicate value: {"name":"a"}',),
        ('spec.workflowDefinition.steps[1].name "a" is the name of steps[0] too: give every step a name of its own'),
    ),
    Case(
        "step-name-upper-case",
        STEPS,
        ("workflowDefinition", "steps"),
        [{"name": "Step1", "action": "cordon_node"}],
        (
            (
                'spec.workflowDefinition.steps[0].name: Invalid value: "Step1": is not a DNS label: use '
                "lower-case letters, digits and '-', a letter or digit first and last"
            ),
        ),
        (
            'spec.workflowDefinition.steps[0].name "Step1" is not a DNS label: use lower-case letters, '
            "digits and '-', a letter or digit first and last"
        ),
    ),
    Case(
        "step-without-action",
        STEPS,
        ("workflowDefinition", "steps"),
        [{"name": "a"}],
        (
            "spec.workflowDefinition.steps[0].action: Required value",
            NOT_CHECKED,
        ),
        "spec.workflowDefinition.steps[0].action is required: add action",
    ),
    Case(
        "step-retries",
        STEPS,
        ("workflowDefinition", "steps"),
        steps(retryPolicy={"maxRetries": 11}),
        (
            (
                "spec.workflowDefinition.steps[0].retryPolicy.maxRetries: Invalid value: 11: "
                "spec.workflowDefinition.steps[0].retryPolicy.maxRetries in body should be less than or "
                "equal to 10"
            ),
        ),
        ("spec.workflowDefinition.steps[0].retryPolicy.maxRetries 11 is more than 10: write 10 or less"),
    ),
    Case(
        "step-run-policy",
        STEPS,
        ("workflowDefinition", "steps"),
        steps(runPolicy="Sometimes"),
        (
            (
                'spec.workflowDefinition.steps[0].runPolicy: Unsupported value: "Sometimes": supported '
                'values: "OnSuccess", "OnFailure", "Always"'
            ),
            NOT_CHECKED,
        ),
        (
            'spec.workflowDefinition.steps[0].runPolicy "Sometimes" is not an allowed value: write '
            "'OnSuccess', 'OnFailure' or 'Always'"
        ),
    ),
    Case(
        "step-parameters-list",
        STEPS,
        ("workflowDefinition", "steps"),
        steps(parameters=["x"]),
        (
            (
                'spec.workflowDefinition.steps[0].parameters: Invalid value: "array": '
                'spec.workflowDefinition.steps[0].parameters in body must be of type object: "array"'
            ),
            NOT_CHECKED,
        ),
        ("spec.workflowDefinition.steps[0].parameters <list with 1 item> is a list, not an object: write an object"),
    ),
    Case(
        "step-too-many-conditions",
        STEPS,
        ("workflowDefinition", "steps"),
        steps(preConditions=[{"type": f"c{i}"} for i in range(21)]),
        (
            "spec.workflowDefinition.steps[0].preConditions: Too many: 21: must have at most 20 items",
            NOT_CHECKED,
        ),
        ("spec.workflowDefinition.steps[0].preConditions has 21 entries, at most 20 are allowed: remove some"),
    ),
    Case(
        "step-condition-name",
        STEPS,
        ("workflowDefinition", "steps"),
        steps(preConditions=[{"type": "NodeReady"}]),
        (
            (
                'spec.workflowDefinition.steps[0].preConditions[0].type: Invalid value: "NodeReady": is '
                "not the name of a condition: write snake_case, such as node_capacity_available"
            ),
        ),
        (
            'spec.workflowDefinition.steps[0].preConditions[0].type "NodeReady" is not the name of a '
            "condition: write snake_case, such as node_capacity_available"
        ),
    ),
    Case(
        "rollback-type",
        STEPS,
        ("rollbackStrategy",),
        {"type": "automatic"},
        (
            (
                'spec.rollbackStrategy.type: Unsupported value: "automatic": supported values: '
                '"Automatic", "Manual", "None"'
            ),
            NOT_CHECKED,
        ),
        ("spec.rollbackStrategy.type \"automatic\" is not an allowed value: write 'Automatic', 'Manual' or 'None'"),
    ),
    Case(
        "max-parallel-steps-zero",
        STEPS,
        ("executionConfig",),
        {"maxParallelSteps": 0},
        (
            (
                "spec.executionConfig.maxParallelSteps: Invalid value: 0: "
                "spec.executionConfig.maxParallelSteps in body should be greater than or equal to 1"
            ),
        ),
        "spec.executionConfig.maxParallelSteps 0 is less than 1: write 1 or more",
    ),
    Case(
        "spec-too-many-bytes",
        STEPS,
        ("workflowDefinition", "steps"),
        [{"name": f"s{i}", "action": "update_configmap", "parameters": {"data": "x" * 9000}} for i in range(60)],
        ACCEPTED,
        "spec has 544183 bytes as JSON, at most 524288 are allowed: pass references instead of data",
    ),
]
