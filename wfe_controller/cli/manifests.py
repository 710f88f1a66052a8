"""``wfe-controller manifests``: what the cluster needs before the controller can work, as YAML on stdout.

The same functions write the generated files of manifests/ (``make crds``), so what a user pipes into kubectl and what
kustomize applies cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import click

from wfe_controller.api import crd
from wfe_controller.api.names import DEFAULT_CONTROLLER_NAMESPACE, DEFAULT_EXECUTION_NAMESPACE, LEASE_NAME
from wfe_controller.app.rights import Scope
from wfe_controller.cli import rbac as access
from wfe_controller.kube.objects import Json

DEFAULT_SCOPE = Scope(DEFAULT_CONTROLLER_NAMESPACE, DEFAULT_EXECUTION_NAMESPACE)

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_POD_SECURITY = "pod-security.kubernetes.io"


def crds() -> list[Json]:
    """Our CustomResourceDefinitions."""
    return [crd.crd(resource.kind) for resource in crd.KINDS]


def namespaces(scope: Scope) -> list[Json]:
    """The two namespaces of an installation.

    Pod Security "restricted" warns and audits; enforcing is left to an overlay, since many bundles run as root.
    """
    labels = {**access.PART_OF, f"{_POD_SECURITY}/warn": "restricted", f"{_POD_SECURITY}/audit": "restricted"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        for name in dict.fromkeys((scope.home, scope.execution))
    ]


def everything(scope: Scope) -> list[Json]:
    """All but the Deployment, in an order in which it can be created."""
    return [*namespaces(scope), *crds(), *access.rbac(scope)]


def to_yaml(objects: Iterable[Json]) -> str:
    """A YAML stream, one document for each object."""
    return "---\n".join(crd.to_yaml(obj) for obj in objects)


def generated_files() -> dict[str, str]:
    """Path below manifests/ -> content, of every generated file."""
    out = {f"crds/{crd.file_name(resource)}": crd.to_yaml(crd.crd(resource.kind)) for resource in crd.KINDS}
    out["namespaces/namespaces.yaml"] = to_yaml(namespaces(DEFAULT_SCOPE))
    out["rbac/controller.yaml"] = to_yaml(access.controller(DEFAULT_SCOPE))
    out["rbac/runner.yaml"] = to_yaml(access.runner(DEFAULT_SCOPE))
    out["rbac/users.yaml"] = to_yaml(access.users())
    only_home = Scope(DEFAULT_SCOPE.home, DEFAULT_SCOPE.execution, (DEFAULT_SCOPE.home,))
    watched = (obj for obj in access.controller(only_home) if obj["metadata"]["name"] == access.ACCOUNT)
    out["components/namespaced/watched.yaml"] = to_yaml(obj for obj in watched if "Role" in obj["kind"])
    return out


def _namespace(_ctx: click.Context, param: click.Parameter, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    for name in (value,) if isinstance(value, str) else value:
        if not _NAMESPACE.fullmatch(name):
            raise click.BadParameter(
                f"{name!r} is not a namespace name: use at most 63 lower-case letters, digits and '-', "
                "a letter or digit first and last",
                param=param,
            )
    return value


def _placement(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say where things are."""
    for option in (
        click.option(
            "--lease",
            default=LEASE_NAME,
            show_default=True,
            metavar="NAME",
            help="Name of the leader election Lease (controller.leaderElectionId).",
        ),
        click.option(
            "--watch-namespace",
            "watched",
            multiple=True,
            metavar="NAME",
            callback=_namespace,
            help="Grant Roles in these namespaces instead of a ClusterRole (controller.watchNamespaces); repeatable.",
        ),
        click.option(
            "--execution-namespace",
            "execution",
            default=DEFAULT_EXECUTION_NAMESPACE,
            show_default=True,
            metavar="NAME",
            callback=_namespace,
            help="Where runs are created (execution.namespace).",
        ),
        click.option(
            "--namespace",
            "-n",
            "home",
            default=DEFAULT_CONTROLLER_NAMESPACE,
            show_default=True,
            metavar="NAME",
            callback=_namespace,
            help="The controller's own namespace.",
        ),
    ):
        command = option(command)
    return command


@click.group()
def manifests() -> None:
    """Print what the cluster needs, as YAML: pipe it into kubectl apply --server-side -f -."""


@manifests.command("crds")
def print_crds() -> None:
    """The CustomResourceDefinitions."""
    click.echo(to_yaml(crds()), nl=False)


@manifests.command("rbac")
@_placement
def print_rbac(home: str, execution: str, watched: tuple[str, ...], lease: str) -> None:
    """Accounts, Roles and bindings: of the controller, of the runs, and roles for people."""
    click.echo(to_yaml(access.rbac(Scope(home, execution, watched, lease=lease))), nl=False)


@manifests.command("all")
@_placement
def print_all(home: str, execution: str, watched: tuple[str, ...], lease: str) -> None:
    """Everything but the Deployment: namespaces, CRDs, RBAC. Enough for a controller that runs elsewhere."""
    click.echo(to_yaml(everything(Scope(home, execution, watched, lease=lease))), nl=False)
