"""Which namespace is home: where the Lease and the TargetLocks live (SPEC 8)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wfe_controller.app.config import Settings
from wfe_controller.kube.client.transport import ConnectionSettings


def in_cluster(connection: ConnectionSettings, env: Mapping[str, str]) -> bool:
    """True when the transport will use the pod's service account (the same rule as kube/client/transport)."""
    explicit = connection.kubeconfig or connection.context or env.get("KUBECONFIG")
    return not explicit and (Path(connection.service_account_dir) / "token").is_file()


def home_namespace(settings: Settings, connection: ConnectionSettings, env: Mapping[str, str]) -> str:
    """The pod's own namespace in a cluster, else ``controller.namespace``.

    Never the namespace of the kubeconfig's context: two laptops of one team would then hold two locks (P:E8).
    """
    if in_cluster(connection, env):
        file = Path(connection.service_account_dir) / "namespace"
        own = file.read_text().strip() if file.is_file() else ""
        if own:
            return own
    return settings.controller.namespace
