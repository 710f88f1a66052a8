"""Protobuf request bodies, as typed Go clients write them."""

from __future__ import annotations

import pytest

from wfe_controller.sandbox.apiserver.protobuf import ProtobufProblem, decode


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def text(number: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def number(place: int, value: int) -> bytes:
    return varint(place << 3) + varint(value)


def body(version: str, kind: str, message: bytes) -> bytes:
    return b"k8s\0" + text(1, text(1, version) + text(2, kind)) + text(2, message) + text(3, "") + text(4, "")


META = text(1, "u") + text(2, "") + text(5, "") + number(7, 0) + text(8, "")


def test_a_namespace_has_no_empty_fields() -> None:
    message = text(1, META) + text(2, "") + text(3, text(1, ""))
    assert decode(body("v1", "Namespace", message)) == {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "u"},
        "spec": {},
        "status": {},
    }


def test_maps_bytes_and_repeated_messages() -> None:
    secret = text(1, META) + text(2, text(1, "k") + text(2, b"\x00\xff")) + text(3, "Opaque")
    assert decode(body("v1", "Secret", secret))["data"] == {"k": "AP8="}
    subject = text(1, "User") + text(2, "") + text(3, "me") + text(4, "")
    binding = text(1, META) + text(2, subject) + text(2, subject) + text(3, text(2, "Role") + text(3, "r"))
    read = decode(body("rbac.authorization.k8s.io/v1", "RoleBinding", binding))
    assert read["subjects"] == [{"kind": "User", "name": "me"}] * 2
    assert read["roleRef"] == {"kind": "Role", "name": "r"}


def test_messages_that_are_no_objects_in_json() -> None:
    spec = text(1, number(1, 1) + number(2, 0) + text(3, "50%"))
    budget = text(1, META + text(9, number(1, 0))) + text(2, spec)
    read = decode(body("policy/v1", "PodDisruptionBudget", budget))
    assert read["spec"] == {"minAvailable": "50%"}
    assert read["metadata"]["deletionTimestamp"] == "1970-01-01T00:00:00Z"


def test_zero_is_kept_where_it_means_something() -> None:
    deployment = text(1, META) + text(2, number(1, 0))
    assert decode(body("apps/v1", "Deployment", deployment))["spec"] == {"replicas": 0}


@pytest.mark.parametrize(
    "broken",
    [b"", b"k8s\0\x0a\xff", body("v1", "Namespace", b"\x0a\x7fx"), body("v1", "Namespace", b"\x0f")],
    ids=["empty", "truncated", "short", "wire-type"],
)
def test_broken_bodies_are_told(broken: bytes) -> None:
    with pytest.raises(ProtobufProblem):
        decode(broken)


def test_kinds_that_no_typed_client_sends_are_not_known() -> None:
    with pytest.raises(KeyError):
        decode(body("ex.io/v1", "Widget", b""))
