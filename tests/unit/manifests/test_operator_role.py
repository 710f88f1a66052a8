"""The operators' role, judged by a server that evaluates it: enough for ``kubectl wfe explain``, nothing to spare."""

from __future__ import annotations

import random

import pytest

from tests.support import explained
from tests.support.embedded import Embedded, embedded
from tests.support.explained import blocked, held
from wfe_controller.api.crd import KINDS, crd
from wfe_controller.api.names import TARGETLOCKS, WORKFLOWEXECUTIONS
from wfe_controller.cli.kubectl.explain.gather import gather, leases_elsewhere
from wfe_controller.cli.kubectl.session import Session
from wfe_controller.cli.kubectl.words import CommandLine
from wfe_controller.cli.rbac import users
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.objects import Json, Resource
from wfe_controller.sandbox.apiserver.auth import Token
from wfe_controller.sandbox.apiserver.rbac import User
from wfe_controller.sandbox.inprocess import InProcessTransport
from wfe_controller.sandbox.simulators.tekton import kinds

pytestmark = pytest.mark.looptime

NAME, HOME, EXECUTION = "kubernaut-workflowexecution-operator", "kubernaut-system", "kubernaut-workflows"
ROLE = next(role for role in users() if role["metadata"]["name"] == NAME)
ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False)


async def operator(place: Embedded, role: Json) -> Session:
    """Of somebody who has this role everywhere, and no other."""
    api = place.api
    for namespace in (HOME, EXECUTION, "shop"):
        await place.namespace(namespace)
    binding = {
        "metadata": {"name": "olga"},
        "roleRef": {"apiGroup": ROLES.group, "kind": ROLES.kind, "name": NAME},
        "subjects": [{"apiGroup": ROLES.group, "kind": "User", "name": "olga"}],
    }
    await api.create(ROLES, role, lane=Lane.READ)
    await api.create(BINDINGS, binding, lane=Lane.READ)
    place.server.auth.issue("olga", Token(User("olga", groups=("system:authenticated",))))
    mine = Api(InProcessTransport(place.server, token="olga"), throttle=None, clock=place.clock)
    return Session(mine, place.clock, "shop", HOME, EXECUTION, CommandLine())


async def unread(place: Embedded, role: Json) -> tuple[str, ...]:
    """What explain may not look at, of a refused execution on a held and blocked target without a controller."""
    session = await operator(place, role)
    wfe = await stored(place, WORKFLOWEXECUTIONS, explained.failed("ConfigurationError", executed=False))
    await stored(
        place, TARGETLOCKS, explained.lock(**held("other", "other-uid"), **blocked(name="another", uid="third"))
    )
    return (await gather(session, wfe)).unread


async def stored(place: Embedded, resource: Resource, obj: Json) -> Json:
    status = obj.pop("status")
    for field in ("uid", "resourceVersion", "creationTimestamp"):
        obj["metadata"].pop(field, None)
    created = await place.api.create(resource, obj, lane=Lane.READ)
    return await place.api.replace(resource, created | {"status": status}, subresource="status", lane=Lane.READ)


CRDS = [*kinds.crds(), *(crd(resource.kind) for resource in KINDS)]


async def test_explain_reads_all_it_wants_with_the_operators_role_alone() -> None:
    """SPEC 0: operators explain. The Lease included, which the built-in role view does not read."""
    async with embedded(random.Random(3), crds=CRDS) as place:
        assert await unread(place, ROLE) == ()


@pytest.mark.parametrize("at", range(1, len(ROLE["rules"])), ids=lambda at: ",".join(ROLE["rules"][at]["resources"]))
async def test_each_right_to_read_is_needed_and_missed_in_words(at: int) -> None:
    """Without it the fact is named as forbidden; nothing is granted that explain does not ask for."""
    role = {**ROLE, "rules": [*ROLE["rules"][:at], *ROLE["rules"][at + 1 :]]}
    async with embedded(random.Random(3), crds=CRDS) as place:
        told = await unread(place, role)
    assert told
    assert all(fact.endswith("forbidden") for fact in told), told


async def test_a_controller_elsewhere_is_found_by_the_name_of_its_lease() -> None:
    """The right is for that one name, in a list too."""
    async with embedded(random.Random(3), crds=CRDS) as place:
        session = await operator(place, ROLE)
        lease = {
            "metadata": {"name": "workflowexecution.kubernaut.ai", "namespace": "shop"},
            "spec": {"holderIdentity": "x"},
        }
        await place.api.create(Resource("coordination.k8s.io", "v1", "leases", "Lease"), lease, lane=Lane.READ)
        assert await leases_elsewhere(session) == ("shop",)
