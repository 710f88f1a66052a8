"""Every right the controller needs, as one table, and the question whether we have them.

The RBAC manifests grant exactly this table (a test compares them); start, readiness and ``doctor`` ask the API server
for each row with a SelfSubjectAccessReview, which everybody may ask (P:W9, P:X3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
    names: tuple[str, ...] = ()  # granted for objects of these names only; empty = any

    @property
    def object(self) -> str:
        """``workflowexecutions/status.kubernaut.ai``, as kubectl spells it."""
        if not self.subresource:
            return self.resource.group_resource
        plural, dot, group = self.resource.group_resource.partition(".")
        return f"{plural}/{self.subresource}{dot}{group}"

    def __str__(self) -> str:
        return f"{self.verb} {self.object}"


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
    *_rights(Place.EXECUTION, TASKRUNS, "list watch", "follow a run and judge its end", engine="tekton"),
    *_rights(Place.EXECUTION, PODS, "list watch", "see that a run has really ended"),
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
class Question:
    """May I do that, there, to this object? ``namespace`` "" = all, or cluster-wide; ``name`` "" = any object."""

    right: Right
    namespace: str
    name: str = ""

    @property
    def where(self) -> str:
        if self.right.place is Place.CLUSTER:
            return "cluster-wide"
        return f"in namespace {self.namespace}" if self.namespace else "in all namespaces"


@dataclass(frozen=True, slots=True)
class Scope:
    """What stands for the places of the table. ``watched`` empty = all namespaces; ``lease``: the Lease's name."""

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

    def object_names(self, right: Right) -> tuple[str, ...]:
        """The objects to ask about, each by its name; ("",) = any. A Role with names refuses the nameless question."""
        if right.resource == LEASES and right.names:
            return (self.lease,)
        return right.names or ("",)

    def questions(self, rights: Iterable[Right] = RIGHTS) -> Iterator[Question]:
        """Everything to ask for."""
        for right in rights:
            if not right.engine or right.engine in self.engines:
                for namespace in self.namespaces(right.place):
                    for name in self.object_names(right):
                        yield Question(right, namespace, name)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said about one right. ``reason`` is the authorizer's, often empty."""

    question: Question
    allowed: bool
    reason: str = ""

    @property
    def right(self) -> Right:
        return self.question.right

    def __str__(self) -> str:
        return f"{self.right} {self.question.where}"


def review(question: Question) -> Json:
    """The SelfSubjectAccessReview that asks it."""
    right = question.right
    attributes = {
        "verb": right.verb,
        "group": right.resource.group,
        "version": right.resource.version,
        "resource": right.resource.plural,
        "subresource": right.subresource,
        "namespace": question.namespace,
        "name": question.name,
    }
    return {
        "apiVersion": ACCESS_REVIEWS.api_version,
        "kind": ACCESS_REVIEWS.kind,
        "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
    }


async def ask_rights(api: Api, scope: Scope) -> list[Answer]:
    """The answer to every question; raises KubeError when the server does not answer."""
    answers = []
    for question in scope.questions():
        reply = status(await api.raw("POST", ACCESS_REVIEWS.path(), body=review(question)))
        answers.append(Answer(question, reply.get("allowed") is True, text(reply.get("reason"))))
    return answers


def missing(answers: Iterable[Answer], *, required_only: bool = True) -> list[Answer]:
    """The rights we do not have."""
    return [a for a in answers if not a.allowed and (a.right.required or not required_only)]
