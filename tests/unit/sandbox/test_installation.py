"""A sandbox has what the product ships, whatever that is: the objects that ``wfe-controller manifests all`` prints."""

from __future__ import annotations

import random

import pytest

from tests.support.embedded import embedded
from wfe_controller.api import names
from wfe_controller.cli.manifests import DEFAULT_SCOPE, everything
from wfe_controller.kube.objects import Json, ObjectKey, Resource, name_of
from wfe_controller.sandbox.installation import _RESOURCES, account_token, install

pytestmark = pytest.mark.looptime
ADMISSION = "admissionregistration.k8s.io"
POLICY: Json = {
    "apiVersion": f"{ADMISSION}/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "who-clears"},
    "spec": {
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": ["kubernaut.ai"],
                    "apiVersions": ["*"],
                    "resources": ["targetlocks"],
                    "operations": ["UPDATE"],
                }
            ]
        },
        "validations": [{"expression": "true"}],
    },
}
BINDING: Json = {
    "apiVersion": f"{ADMISSION}/v1",
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": "who-clears"},
    "spec": {"policyName": "who-clears", "validationActions": ["Deny"]},
}


async def test_all_that_is_shipped_is_there_and_the_account_has_a_token() -> None:
    shipped = everything(DEFAULT_SCOPE)
    async with embedded(random.Random(1)) as place:
        await install(place.api, shipped, clock=place.clock)
        for kind, resource in _RESOURCES.items():
            there = {name_of(obj) for obj in await place.api.list(resource)}
            assert {name_of(obj) for obj in shipped if obj["kind"] == kind} <= there
        assert await account_token(place.api, ObjectKey(names.DEFAULT_CONTROLLER_NAMESPACE, names.COMPONENT))


async def test_policies_would_be_installed_like_the_rest() -> None:
    """None is shipped yet."""
    shipped = everything(DEFAULT_SCOPE)
    assert not [obj for obj in shipped if obj["apiVersion"].startswith(ADMISSION)]
    async with embedded(random.Random(1)) as place:
        await install(place.api, [BINDING, POLICY, *shipped], clock=place.clock)
        for plural in ("validatingadmissionpolicies", "validatingadmissionpolicybindings"):
            resource = Resource(ADMISSION, "v1", plural, "", namespaced=False)
            assert [name_of(obj) for obj in await place.api.list(resource)] == ["who-clears"]
