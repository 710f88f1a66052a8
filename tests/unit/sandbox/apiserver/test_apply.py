"""Ownership of fields and server-side apply; every expectation was taken from a real kube-apiserver 1.36."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wfe_controller.sandbox.apiserver import definitions
from wfe_controller.sandbox.apiserver.apply import LAST_APPLIED, FieldManager, field_manager
from wfe_controller.sandbox.apiserver.managedfields import keep_times, manager_name, option_causes
from wfe_controller.sandbox.apiserver.resources import ResourceInfo
from wfe_controller.sandbox.apiserver.status import StatusError

Json = dict[str, Any]

NOW = datetime(2026, 11, 22, 17, 30, 50, tzinfo=UTC)
STATUS = frozenset({"status"})


def builtin(group: str, plural: str, kind: str, definition: str, subresources: frozenset[str]) -> ResourceInfo:
    schema = definitions.schema(definition)
    return ResourceInfo(group, "v1", plural, kind, schema=schema, subresources=subresources)


CONFIGMAPS = builtin("", "configmaps", "ConfigMap", "io.k8s.api.core.v1.ConfigMap", frozenset())
DEPLOYMENTS = builtin("apps", "deployments", "Deployment", "io.k8s.api.apps.v1.Deployment", STATUS)
EVENTS = builtin("", "events", "Event", "io.k8s.api.core.v1.Event", frozenset())
WIDGETS = ResourceInfo(
    "ex.io",
    "v1",
    "widgets",
    "Widget",
    custom=True,
    subresources=STATUS,
    schema={
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "default": {},
                "properties": {
                    "size": {"type": "integer"},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    "names": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                    "steps": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {
                            "type": "object",
                            "properties": {"name": {"type": "string"}, "run": {"type": "string"}},
                        },
                    },
                    "plain": {"type": "array", "items": {"type": "integer"}},
                    "whole": {
                        "type": "object",
                        "x-kubernetes-map-type": "atomic",
                        "additionalProperties": {"type": "string"},
                    },
                },
            },
            "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
        },
    },
)


def config_map(data: Json | None = None, **metadata: Any) -> Json:
    obj: Json = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", **metadata}}
    return obj if data is None else {**obj, "data": data}


def widget(spec: Json | None = None, **rest: Any) -> Json:
    obj: Json = {"apiVersion": "ex.io/v1", "kind": "Widget", "metadata": {"name": "w"}, **rest}
    return obj if spec is None else {**obj, "spec": spec}


def owners(obj: Json) -> Json:
    """{manager: fieldsV1} of the entries of an object."""
    return {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"].get("managedFields", [])}


def apply(
    manager: FieldManager, live: Json | None, applied: Json, name: str, *, force: bool = False, after: int = 0
) -> Json:
    return manager.apply(live, applied, manager=name, force=force, now=NOW + timedelta(seconds=after))


@pytest.fixture
def config_maps() -> FieldManager:
    return field_manager(CONFIGMAPS)


@pytest.fixture
def widgets() -> FieldManager:
    return field_manager(WIDGETS)


# -- create and update --------------------


def test_a_create_owns_what_it_set_but_never_what_identifies_the_object(config_maps: FieldManager) -> None:
    obj = config_map({"x": "1"}, labels={"l": "1"}, uid="u", resourceVersion="1", generation=1)
    made = config_maps.update(None, obj, manager="cr", now=NOW)
    assert made["metadata"]["managedFields"] == [
        {
            "manager": "cr",
            "operation": "Update",
            "apiVersion": "v1",
            "time": "2026-11-22T17:30:50Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:data": {".": {}, "f:x": {}},
                "f:metadata": {"f:labels": {".": {}, "f:l": {}}},
            },
        }
    ]


def test_a_create_that_sets_nothing_has_no_entries(config_maps: FieldManager) -> None:
    made = config_maps.update(None, config_map(), manager="cr", now=NOW)
    assert "managedFields" not in made["metadata"]


def test_structs_of_built_in_kinds_are_never_added_themselves() -> None:
    """A Go struct always exists, so its entry has no dot; below a list item, which can be absent, it has one."""
    obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "strategy": {"type": "RollingUpdate"},
            "template": {
                "metadata": {"labels": {"app": "d"}},
                "spec": {
                    "containers": [
                        {
                            "name": "a",
                            "image": "i",
                            "resources": {"limits": {"cpu": "1"}},
                            "ports": [{"containerPort": 80, "protocol": "TCP"}],
                        }
                    ],
                    "securityContext": {},
                },
            },
        },
    }
    assert owners(field_manager(DEPLOYMENTS).update(None, obj, manager="cr", now=NOW))["cr"] == {
        "f:spec": {
            "f:selector": {},
            "f:strategy": {"f:type": {}},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"a"}': {
                            ".": {},
                            "f:image": {},
                            "f:name": {},
                            "f:ports": {
                                ".": {},
                                'k:{"containerPort":80,"protocol":"TCP"}': {
                                    ".": {},
                                    "f:containerPort": {},
                                    "f:protocol": {},
                                },
                            },
                            "f:resources": {".": {}, "f:limits": {".": {}, "f:cpu": {}}},
                        }
                    },
                    "f:securityContext": {},
                },
            },
        }
    }


def test_empty_fields_of_a_go_struct_belong_to_nobody() -> None:
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "x"},
        "source": {"component": "c"},
        "eventTime": None,
        "reportingComponent": "",
        "reason": "R",
    }
    assert owners(field_manager(EVENTS).update(None, event, manager="cr", now=NOW))["cr"] == {
        "f:involvedObject": {},
        "f:reason": {},
        "f:source": {"f:component": {}},
    }


def test_an_update_takes_what_it_changes_and_leaves_the_rest(config_maps: FieldManager) -> None:
    live = config_maps.update(None, config_map({"x": "1", "y": "1"}), manager="one", now=NOW)
    new = copy.deepcopy(live)
    new["data"] = {"x": "2", "y": "1", "z": "3"}
    updated = config_maps.update(live, new, manager="two", now=NOW)
    assert owners(updated) == {
        "one": {"f:data": {".": {}, "f:y": {}}},
        "two": {"f:data": {"f:x": {}, "f:z": {}}},
    }


def test_an_update_that_changes_nothing_keeps_the_times(config_maps: FieldManager) -> None:
    live = config_maps.update(None, config_map({"x": "1"}), manager="one", now=NOW)
    updated = config_maps.update(live, copy.deepcopy(live), manager="two", now=NOW + timedelta(hours=1))
    assert updated == live


def test_a_client_that_knows_nothing_of_managed_fields_does_not_delete_them(config_maps: FieldManager) -> None:
    live = config_maps.update(None, config_map({"x": "1"}), manager="one", now=NOW)
    updated = config_maps.update(live, config_map({"x": "1"}), manager="two", now=NOW)
    assert owners(updated) == {"one": {"f:data": {".": {}, "f:x": {}}}}


@pytest.mark.parametrize("reset", [[], [{}]], ids=["empty", "one-empty-entry"])
def test_managed_fields_can_be_reset_and_are_then_not_tracked(config_maps: FieldManager, reset: list[Json]) -> None:
    live = config_maps.update(None, config_map({"x": "1"}), manager="one", now=NOW)
    updated = config_maps.update(live, config_map({"x": "1"}, managedFields=reset), manager="two", now=NOW)
    assert "managedFields" not in updated["metadata"]
    again = config_maps.update(updated, config_map({"x": "2"}), manager="two", now=NOW)
    assert "managedFields" not in again["metadata"]


def test_unreadable_managed_fields_of_a_request_count_as_none_sent(config_maps: FieldManager) -> None:
    live = config_maps.update(None, config_map({"x": "1"}), manager="one", now=NOW)
    sent = config_map({"x": "1"}, managedFields=[{"manager": "evil", "operation": "Steal"}])
    assert list(owners(config_maps.update(live, sent, manager="two", now=NOW))) == ["one"]


def test_managed_fields_written_by_a_client_are_taken_as_they_are(config_maps: FieldManager) -> None:
    """How kubectl moves the ownership of client-side apply to server-side apply: it rewrites the list itself."""
    live = config_maps.update(None, config_map({"x": "1"}), manager="kubectl-client-side-apply", now=NOW)
    entry = {**live["metadata"]["managedFields"][0], "manager": "kubectl", "operation": "Apply"}
    updated = config_maps.update(live, config_map({"x": "1"}, managedFields=[entry]), manager="kubectl", now=NOW)
    assert updated["metadata"]["managedFields"] == [entry]


def test_the_endpoint_decides_what_can_be_owned() -> None:
    """The object's endpoint cannot write the status, and /status of custom kinds nothing else."""
    both = widget({"size": 1}, status={"phase": "A"})
    main = field_manager(WIDGETS).update(None, copy.deepcopy(both), manager="m", now=NOW)
    assert owners(main)["m"] == {"f:spec": {".": {}, "f:size": {}}}
    live = {**main, "status": {}}
    changed = {**copy.deepcopy(both), "spec": {"size": 9}}
    status = field_manager(WIDGETS, "status").update(live, changed, manager="s", now=NOW)
    assert owners(status)["s"] == {"f:status": {"f:phase": {}}}
    assert status["metadata"]["managedFields"][-1]["subresource"] == "status"


def test_more_than_ten_updaters_are_merged_into_ancient_changes(config_maps: FieldManager) -> None:
    live = config_maps.update(None, config_map({"k0": "v"}), manager="m0", now=NOW)
    for number in range(1, 12):
        new = copy.deepcopy(live)
        new["data"][f"k{number}"] = "v"
        live = config_maps.update(live, new, manager=f"m{number}", now=NOW + timedelta(seconds=number))
    found = owners(live)
    assert len(found) == 10
    assert found["ancient-changes"] == {"f:data": {".": {}, "f:k0": {}, "f:k1": {}, "f:k2": {}}}
    assert live["metadata"]["managedFields"][0]["time"] == "2026-11-22T17:30:52Z"


# -- apply --------------------


def test_an_apply_owns_leaves_without_dots(config_maps: FieldManager) -> None:
    made = apply(config_maps, None, config_map({"x": "1"}, labels={"l": "1"}), "m1")
    assert made["data"] == {"x": "1"}
    assert owners(made) == {"m1": {"f:data": {"f:x": {}}, "f:metadata": {"f:labels": {"f:l": {}}}}}


def test_fields_with_one_value_are_shared_and_the_sharer_has_no_time(config_maps: FieldManager) -> None:
    live = apply(config_maps, None, config_map({"x": "1", "y": "1"}), "m1")
    shared = apply(config_maps, live, config_map({"x": "1"}), "m2", after=60)
    assert [(entry["manager"], entry.get("time")) for entry in shared["metadata"]["managedFields"]] == [
        ("m2", None),
        ("m1", "2026-11-22T17:30:50Z"),
    ]


def test_what_is_no_longer_applied_goes_unless_somebody_owns_it(config_maps: FieldManager) -> None:
    live = apply(config_maps, None, config_map({"x": "1", "y": "1"}), "m1")
    live = apply(config_maps, live, config_map({"x": "1"}), "m2")
    live = apply(config_maps, live, config_map(), "m1")
    assert live["data"] == {"x": "1"}
    assert list(owners(live)) == ["m2"]


def test_one_conflict_says_where_and_with_whom(config_maps: FieldManager) -> None:
    live = apply(config_maps, None, config_map({"x": "1"}), "m1")
    with pytest.raises(StatusError) as caught:
        apply(config_maps, live, config_map({"x": "2"}), "m2")
    assert caught.value.to_json() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'Apply failed with 1 conflict: conflict with "m1": .data.x',
        "reason": "Conflict",
        "details": {
            "causes": [{"reason": "FieldManagerConflict", "message": 'conflict with "m1"', "field": ".data.x"}]
        },
        "code": 409,
    }


def test_several_conflicts_are_grouped_by_manager(config_maps: FieldManager) -> None:
    live = apply(config_maps, None, config_map({"y": "1"}, labels={"l": "1"}), "m1")
    new = copy.deepcopy(live)
    new["data"].update(x="9", z="1")
    live = config_maps.update(live, new, manager="probe", now=NOW)
    with pytest.raises(StatusError) as caught:
        apply(config_maps, live, config_map({"x": "3", "z": "4"}, labels={"l": "3"}), "m3")
    assert caught.value.message == (
        'Apply failed with 3 conflicts: conflicts with "m1":\n- .metadata.labels.l\n'
        'conflicts with "probe" using v1:\n- .data.x\n- .data.z'
    )


def test_a_conflict_with_a_subresource_names_it(widgets: FieldManager) -> None:
    live = widgets.update(None, widget({"size": 1}), manager="cr", now=NOW)
    status = field_manager(WIDGETS, "status")
    live = status.update(live, {**copy.deepcopy(live), "status": {"phase": "A"}}, manager="ctl", now=NOW)
    with pytest.raises(StatusError) as caught:
        apply(status, live, widget(status={"phase": "B"}), "ap")
    assert caught.value.message == (
        'Apply failed with 1 conflict: conflict with "ctl" with subresource "status" using ex.io/v1: .status.phase'
    )


def test_force_takes_the_field_from_its_owner(config_maps: FieldManager) -> None:
    live = apply(config_maps, None, config_map({"x": "1", "y": "1"}), "m1")
    live = apply(config_maps, live, config_map({"x": "2"}), "m2", force=True, after=1)
    assert live["data"] == {"x": "2", "y": "1"}
    assert owners(live) == {"m1": {"f:data": {"f:y": {}}}, "m2": {"f:data": {"f:x": {}}}}


def test_an_apply_that_changes_nothing_changes_nothing(config_maps: FieldManager) -> None:
    live = apply(config_maps, None, config_map({"x": "1"}), "m1")
    assert apply(config_maps, live, config_map({"x": "1"}), "m1", after=60) == live


def test_fields_from_before_the_first_apply_get_an_owner(config_maps: FieldManager) -> None:
    live = apply(config_maps, config_map({"a": "1"}, uid="u"), config_map({"b": "1"}), "m1")
    assert owners(live) == {"before-first-apply": {"f:data": {".": {}, "f:a": {}}}, "m1": {"f:data": {"f:b": {}}}}


def test_lists_are_merged_by_key_as_sets_or_as_a_whole(widgets: FieldManager) -> None:
    live = apply(
        widgets,
        None,
        widget({"names": ["b", "a"], "plain": [1], "steps": [{"name": "x", "run": "1"}], "whole": {"a": "1"}}),
        "m1",
    )
    live = apply(widgets, live, widget({"names": ["c", "b"], "steps": [{"name": "y", "run": "2"}]}), "m2", after=1)
    assert live["spec"]["names"] == ["c", "b", "a"]
    assert live["spec"]["steps"] == [{"name": "x", "run": "1"}, {"name": "y", "run": "2"}]
    assert owners(live)["m2"] == {
        "f:spec": {
            "f:names": {'v:"b"': {}, 'v:"c"': {}},
            "f:steps": {'k:{"name":"y"}': {".": {}, "f:name": {}, "f:run": {}}},
        }
    }
    live = apply(widgets, live, widget({"steps": [{"name": "x", "run": "1"}]}), "m1", after=2)
    assert live["spec"] == {
        "names": ["c", "b"],
        "steps": [{"name": "x", "run": "1"}, {"name": "y", "run": "2"}],
    }
    with pytest.raises(StatusError, match=r"conflict with \"m3\": \.spec\.whole$"):
        apply(
            widgets,
            apply(widgets, live, widget({"whole": {"a": "1"}}), "m3", after=3),
            widget({"whole": {"b": "1"}}),
            "m4",
        )


def test_fields_without_a_schema_are_merged_as_maps_and_atomic_lists(widgets: FieldManager) -> None:
    live = apply(widgets, None, widget({"free": {"a": {"b": 1}, "l": [1, {"x": 1}]}}), "m1")
    live = apply(widgets, live, widget({"free": {"a": {"c": 2}}}), "m2", after=1)
    assert live["spec"]["free"] == {"a": {"b": 1, "c": 2}, "l": [1, {"x": 1}]}
    assert owners(live)["m1"] == {"f:spec": {"f:free": {"f:a": {".": {}, "f:b": {}}, "f:l": {}}}}


@pytest.mark.parametrize(
    ("applied", "code", "message"),
    [
        pytest.param({}, 400, "invalid object type: /, Kind=", id="nothing"),
        pytest.param({**config_map(), "kind": "Secret"}, 400, "invalid object type: /v1, Kind=Secret", id="kind"),
        pytest.param(
            {**config_map(), "apiVersion": "apps/v1"}, 400, "invalid object type: apps/v1, Kind=ConfigMap", id="group"
        ),
        pytest.param(config_map(managedFields=[]), 400, "metadata.managedFields must be nil", id="managed-fields"),
        pytest.param(
            {**config_map(), "foo": 1},
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .foo: field not declared in schema",
            id="unknown-field",
        ),
        pytest.param(
            config_map({"a": 1}),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .data.a: expected string, "
            "got &value.valueUnstructured{Value:1}",
            id="wrong-scalar",
        ),
        pytest.param(
            {**config_map(), "data": [1]},
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .data: expected map, got &{[1]}",
            id="list-for-map",
        ),
        pytest.param(
            config_map(finalizers=["x.y/a", "x.y/a"]),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .metadata.finalizers: "
            'duplicate entries for key [="x.y/a"]',
            id="duplicate",
        ),
    ],
)
def test_bad_configurations_are_refused_as_by_the_real_server(
    config_maps: FieldManager, applied: Json, code: int, message: str
) -> None:
    with pytest.raises(StatusError) as caught:
        apply(config_maps, None, applied, "m1")
    assert (caught.value.code, caught.value.message) == (code, message)


# -- kubectl --------------------


def client_side(data: Json) -> Json:
    last = json.dumps(config_map(data))
    return config_map(data, annotations={LAST_APPLIED: last})


def test_kubectl_takes_over_what_it_applied_on_the_client_side(config_maps: FieldManager) -> None:
    live = config_maps.update(None, client_side({"a": "1"}), manager="kubectl-client-side-apply", now=NOW)
    with pytest.raises(StatusError, match=r'conflict with "kubectl-client-side-apply" using v1: \.data\.a$'):
        apply(config_maps, live, config_map({"a": "2"}), "other")
    taken = apply(config_maps, live, config_map({"a": "2"}), "kubectl", after=1)
    assert taken["data"] == {"a": "2"}
    assert json.loads(taken["metadata"]["annotations"][LAST_APPLIED]) == config_map({"a": "2"})


def test_kubectl_does_not_take_over_what_somebody_changed_since(config_maps: FieldManager) -> None:
    live = config_maps.update(None, client_side({"a": "1", "b": "1"}), manager="kubectl-client-side-apply", now=NOW)
    new = copy.deepcopy(live)
    new["data"]["b"] = "7"
    live = config_maps.update(live, new, manager="x", now=NOW)
    with pytest.raises(StatusError, match=r'1 conflict: conflict with "x" using v1: \.data\.b$'):
        apply(config_maps, live, config_map({"a": "2", "b": "8"}), "kubectl")


# -- names and options --------------------


@pytest.mark.parametrize(
    ("parameter", "agent", "name"),
    [
        ("mine", "kubectl/v1", "mine"),
        ("", "kubectl/v1.36.3 (linux/amd64)", "kubectl"),
        ("", "a\tb/1", "ab"),
        ("", "é" * 100, "é" * 64),
        ("", "", "unknown"),
    ],
    ids=["parameter", "agent", "unprintable", "long", "nothing"],
)
def test_who_writes(parameter: str, agent: str, name: str) -> None:
    assert manager_name(parameter, agent) == name


def test_options_are_checked_as_by_the_real_server() -> None:
    assert [str(c) for c in option_causes("", apply=True, force=None)] == [
        "fieldManager: Required value: is required for apply patch"
    ]
    assert [str(c) for c in option_causes("", apply=False, force=True)] == [
        "force: Forbidden: may not be specified for non-apply patch"
    ]
    assert [str(c) for c in option_causes("x" * 129, apply=True, force=False)] == [
        "fieldManager: Too long: may not be more than 128 bytes"
    ]
    assert [str(c) for c in option_causes("a\tb", apply=True, force=False)] == [
        'fieldManager: Invalid value: "a\\tb": invalid character U+0009 (at position 1)'
    ]


def test_a_write_that_changes_only_times_is_none(config_maps: FieldManager) -> None:
    old = config_maps.update(None, config_map({"x": "1"}), manager="one", now=NOW)
    new = copy.deepcopy(old)
    new["metadata"]["managedFields"][0]["time"] = "2030-01-01T00:00:00Z"
    keep_times(old, new)
    assert new == old
    new["data"]["x"] = "2"
    new["metadata"]["managedFields"][0]["time"] = "2030-01-01T00:00:00Z"
    keep_times(old, new)
    assert new["metadata"]["managedFields"][0]["time"] == "2030-01-01T00:00:00Z"
