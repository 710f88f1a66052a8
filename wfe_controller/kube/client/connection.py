"""Where to connect and as whom: the pod's service account, or kubeconfigs as the Kubernetes library reads them.

Neighbours: ``library`` has what is used of that library, ``credentials`` calls what is made here again and again to
keep the identity fresh, ``transport`` connects with it.
Kept here: whatever is wrong with a file is told in one line; a credential plugin that hangs hangs nobody else (W10).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wfe_controller.kube.client.credentials import CredentialsFailed, Identity, Loader
from wfe_controller.kube.client.library import (
    ConfigException,
    Configuration,
    InClusterConfigLoader,
    KubeConfigLoader,
    load_kube_config,
)

SERVICE_ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"
LOAD_SECONDS = 30.0
"""For an exec plugin: the library waits for it without any limit."""


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Where to connect. Nothing given: KUBECONFIG, else the pod's service account, else ~/.kube/config."""

    kubeconfig: str | None = None
    context: str | None = None
    user_agent: str = "wfe-controller"
    service_account_dir: str = SERVICE_ACCOUNT_DIR


def loader_for(settings: ConnectionSettings) -> tuple[Loader, Callable[[], str | None]]:
    """How to read the identity for these settings, and the namespace once it was read."""
    explicit = settings.kubeconfig or os.environ.get("KUBECONFIG")
    directory = Path(settings.service_account_dir)
    if not explicit and not settings.context and (directory / "token").is_file():
        return _in_cluster(directory)
    return _from_kubeconfig(explicit or str(Path.home() / ".kube" / "config"), settings.context)


def _in_cluster(directory: Path) -> tuple[Loader, Callable[[], str | None]]:
    async def load(from_scratch: bool) -> Identity:
        configuration = Configuration()
        try:
            InClusterConfigLoader(
                token_filename=str(directory / "token"), cert_filename=str(directory / "ca.crt")
            ).load_and_set(configuration)
        except (ConfigException, OSError, ValueError) as error:
            raise CredentialsFailed(f"service account in {directory}: {error}") from error
        return _identity(configuration, f"service account in {directory}")

    def namespace() -> str | None:
        try:
            return (directory / "namespace").read_text().strip() or None
        except FileNotFoundError:
            return None

    return load, namespace


def _from_kubeconfig(paths: str, context: str | None) -> tuple[Loader, Callable[[], str | None]]:
    """``paths`` as in KUBECONFIG, several separated by colons; at least one must exist."""
    kept: tuple[KubeConfigLoader, Identity] | None = None

    async def load(from_scratch: bool) -> Identity:
        nonlocal kept
        if not _any_file(paths):
            raise CredentialsFailed(f"kubeconfig {paths}: no such file")
        if kept and not from_scratch and _plugin_token_without_end(kept[0]):
            return kept[1]
        configuration = Configuration()
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                if kept and not from_scratch:
                    # The loader remembers when its exec token ends and reads files anew.
                    loader = kept[0]
                    await loader.load_and_set(configuration)
                else:
                    # persist_config=True would write refreshed tokens back, by a call that does not fit its callee.
                    loader = await load_kube_config(paths, context, configuration, persist_config=False)
        except Exception as error:  # a bad file makes the library raise anything; told as one line
            raise CredentialsFailed(f"kubeconfig {paths}: {' '.join(_config_fault(error).split())}") from error
        kept = (loader, _identity(configuration, f"kubeconfig {paths}"))
        return kept[1]

    def namespace() -> str | None:
        current = (kept[0].current_context if kept else None) or {}
        return (current.get("context") or {}).get("namespace") or None

    return load, namespace


def _config_fault(error: Exception) -> str:
    match error:
        case TimeoutError():
            return f"the credential plugin gave no answer in {LOAD_SECONDS:g} s"
        case ConfigException() | OSError():
            return str(error)
        case _:
            told = f"{type(error).__name__}: {error}".removesuffix(": ")
            return f"not a kubeconfig, or its context lacks cluster or user ({told})"


def _any_file(paths: str) -> bool:
    return any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path)


def _plugin_token_without_end(loader: KubeConfigLoader) -> bool:
    """Such a token is good until the server refuses it (as in client-go); asking again each minute runs a program."""
    # The library's own refresh_token() looks at the same two attributes; there is no public way.
    return "exec" in (loader._user or ()) and not hasattr(loader, "exec_plugin_expiry")


def _identity(configuration: Configuration, source: str) -> Identity:
    return Identity(
        source=source,
        server=configuration.host or "",
        authorization=configuration.api_key.get("BearerToken", "").strip(),
        ca_file=configuration.ssl_ca_cert,
        cert_file=configuration.cert_file,
        key_file=configuration.key_file,
        verify=bool(configuration.verify_ssl),
        tls_server_name=configuration.tls_server_name,
        proxy=configuration.proxy,
    )
