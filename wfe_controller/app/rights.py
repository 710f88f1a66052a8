"""Every right the controller needs, as one table, and the question whether we have them.

The RBAC manifests grant exactly this table (a test compares them); start, readiness and ``doctor`` ask the API server
for each row with a SelfSubjectAccessReview, which everybody may ask (P:W9, P:X3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from wfe_controller.api.names import LEASE_NAME, PIPELINERUNS, TARGETLOCKS, TASKRUNS, WORKFLOWEXECUTIONS
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.objects import (
    ACCESS_REVIEWS,
    CRDS,
    EVENTS,
    LEASES,
    NAMESPACES,
    PODS,
    SERVICE_ACCOUNTS,
    Json,
    Resource,
    mapping,
    status,
    text,
)


class Place(StrEnum):
    """Where a right is needed."""

    HOME = "controller"  # the controller's own namespace
    EXECUTION = "execution"  # where runs are created
    WATCHED = "watched"  # where WorkflowExecutions live: every namespace, or controller.watchNamespaces
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one resource. Without a ``required`` one the controller cannot do its work; others cost a feature."""

    place: Place
    resource: Resource
    verb: str
    why: str
    subresource: str = ""
    required: bool = True
    engine: str = ""  # only needed while this engine is enabled
    names: tuple[str, ...] = ()  # of the objects; empty = any name

    def __str__(self) -> str:
        name = self.resource.group_resource
        if self.subresource:
            plural, dot, group = name.partition(".")
            name = f"{plural}/{self.subresource}{dot}{group}"
        return f"{self.verb} {name}"


def _rights(
    place: Place,
    resource: Resource,
    verbs: str,
    why: str,
    *,
    subresource: str = "",
    required: bool = True,
    engine: str = "",
    names: tuple[str, ...] = (),
) -> Iterator[Right]:
    for verb in verbs.split():
        yield Right(place, resource, verb, why, subresource, required, engine, names)


RIGHTS: tuple[Right, ...] = (
    *_rights(Place.WATCHED, WORKFLOWEXECUTIONS, "get list watch", "read what was asked for"),
    *_rights(Place.WATCHED, WORKFLOWEXECUTIONS, "patch", "put on and take off the finalizer"),
    *_rights(Place.WATCHED, WORKFLOWEXECUTIONS, "update", "write what happened", subresource="status"),
    *_rights(Place.WATCHED, EVENTS, "create patch", "tell what happened", required=False),
    *_rights(Place.HOME, TARGETLOCKS, "get list watch create patch delete", "lock targets and remember their history"),
    *_rights(Place.HOME, TARGETLOCKS, "update", "take, settle and clear a lock", subresource="status"),
    # A create cannot be limited to a name: the API server does not know it yet.
    *_rights(Place.HOME, LEASES, "create", "elect one leader"),
    *_rights(Place.HOME, LEASES, "get update", "elect one leader", names=(LEASE_NAME,)),
    *_rights(Place.HOME, EVENTS, "create patch", "tell what happened to a lock", required=False),
    *_rights(Place.EXECUTION, PIPELINERUNS, "get list watch create patch delete", "run a workflow", engine="tekton"),
    *_rights(Place.EXECUTION, TASKRUNS, "get list watch", "follow a run and judge its end", engine="tekton"),
    *_rights(Place.EXECUTION, PODS, "get list watch", "see that a run has really ended"),
    *_rights(Place.EXECUTION, PODS, "get", "keep the last lines of a failing step", subresource="log", required=False),
    *_rights(Place.EXECUTION, SERVICE_ACCOUNTS, "get", "refuse a run whose account does not exist"),
    *_rights(
        Place.CLUSTER,
        CRDS,
        "get",
        "compare the installed schema with the built-in one",
        required=False,
        names=tuple(kind.group_resource for kind in (WORKFLOWEXECUTIONS, TARGETLOCKS, PIPELINERUNS, TASKRUNS)),
    ),
    *_rights(Place.CLUSTER, NAMESPACES, "get", "tell a missing namespace from a missing right", required=False),
)


@dataclass(frozen=True, slots=True)
class Scope:
    """The namespaces that stand for the places of the table. ``watched`` empty = all namespaces."""

    home: str
    execution: str
    watched: tuple[str, ...] = ()
    engines: tuple[str, ...] = ("tekton", "steps")
    lease: str = LEASE_NAME

    def namespaces(self, place: Place) -> tuple[str, ...]:
        match place:
            case Place.HOME:
                return (self.home,)
            case Place.EXECUTION:
                return (self.execution,)
            case Place.WATCHED:
                return self.watched or ("",)
            case Place.CLUSTER:
                return ("",)

    def questions(self, rights: Iterable[Right] = RIGHTS) -> Iterator[tuple[Right, str]]:
        """Every (right, namespace) to ask for; namespace "" = all, or cluster-wide."""
        for right in rights:
            if not right.engine or right.engine in self.engines:
                if right.resource is LEASES and right.names:
                    right = replace(right, names=(self.lease,))
                for namespace in self.namespaces(right.place):
                    yield right, namespace


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said about one right. ``reason`` is the authorizer's, often empty."""

    right: Right
    namespace: str
    allowed: bool
    reason: str = ""

    def __str__(self) -> str:
        if self.right.place is Place.CLUSTER:
            where = "cluster-wide"
        else:
            where = f"in namespace {self.namespace}" if self.namespace else "in all namespaces"
        return f"{self.right} {where}"


def review(right: Right, namespace: str) -> Json:
    """The SelfSubjectAccessReview that asks for ``right``."""
    attributes = {
        "verb": right.verb,
        "group": right.resource.group,
        "version": right.resource.version,
        "resource": right.resource.plural,
        "subresource": right.subresource,
        "namespace": namespace,
        "name": right.names[0] if right.names else "",
    }
    return {
        "apiVersion": ACCESS_REVIEWS.api_version,
        "kind": ACCESS_REVIEWS.kind,
        "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
    }


async def ask_rights(api: Api, scope: Scope) -> list[Answer]:
    """The answer for every row of the table; raises KubeError when the server does not answer."""
    answers = []
    for right, namespace in scope.questions():
        reply = status(await api.raw("POST", ACCESS_REVIEWS.path(), body=review(right, namespace)))
        allowed = mapping(reply).get("allowed") is True
        answers.append(Answer(right, namespace, allowed, text(reply.get("reason"))))
    return answers


def missing(answers: Iterable[Answer], *, required_only: bool = True) -> list[Answer]:
    """The rights we do not have."""
    return [a for a in answers if not a.allowed and (a.right.required or not required_only)]
