"""What stands in a sandbox before anything happens: Tekton's kinds, and whatever manifests the product ships.

An ordinary administrator's client: the same objects, in the same order, as ``kubectl apply`` of
``wfe-controller manifests all``. Nothing is granted beyond what they grant.
"""

from __future__ import annotations

from collections.abc import Sequence

from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.errors import AlreadyExists
from wfe_controller.kube.objects import (
    CRDS,
    NAMESPACES,
    SERVICE_ACCOUNTS,
    Json,
    ObjectKey,
    Resource,
    condition,
    name_of,
)
from wfe_controller.sandbox.simulators.tekton import kinds

RBAC = "rbac.authorization.k8s.io"
ADMISSION = "admissionregistration.k8s.io"
# In the order of their creation. Policies: what the product ships of them, which is nothing yet.
_RESOURCES = {
    resource.kind: resource
    for resource in (
        NAMESPACES,
        CRDS,
        SERVICE_ACCOUNTS,
        Resource(RBAC, "v1", "roles", "Role"),
        Resource(RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
        Resource(RBAC, "v1", "rolebindings", "RoleBinding"),
        Resource(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
        Resource("", "v1", "configmaps", "ConfigMap"),
        Resource(ADMISSION, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False),
        Resource(
            ADMISSION, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", namespaced=False
        ),
    )
}
ESTABLISHED_SECONDS = 10.0
_POLL_SECONDS = 0.02
TOKEN_SECONDS = 30 * 24 * 3600
"""Nobody renews the controller's token here, and ``--keep`` may stay for days."""


async def install(api: Api, manifests: Sequence[Json], *, clock: Clock) -> None:
    """Create everything and wait until the kinds are served. Raises KubeError; TimeoutError when they never are."""
    objects = [*kinds.crds(), *manifests]
    for obj in sorted(objects, key=lambda obj: list(_RESOURCES).index(obj["kind"])):
        try:
            await api.create(_RESOURCES[obj["kind"]], obj, lane=Lane.READ)
        except AlreadyExists:  # the server's own ClusterRoles, or a namespace that two manifests name
            continue
    deadline = clock.monotonic() + ESTABLISHED_SECONDS
    for name in (name_of(obj) for obj in objects if obj["kind"] == CRDS.kind):
        while condition(await api.get(CRDS, ObjectKey("", name)), "Established").get("status") != "True":
            if clock.monotonic() > deadline:
                raise TimeoutError(f"{name} is not served after {ESTABLISHED_SECONDS:g} s")
            await clock.sleep(_POLL_SECONDS)


async def account_token(api: Api, account: ObjectKey) -> str:
    """A token of a service account, from the same subresource that a kubelet asks."""
    body: Json = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": TOKEN_SECONDS},
    }
    path = SERVICE_ACCOUNTS.path(account.namespace, account.name, "token")
    answer = await api.raw("POST", path, body=body)
    return str(answer["status"]["token"])
