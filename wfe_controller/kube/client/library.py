"""The four things we use of the Kubernetes library, loaded without the rest of it: its only importer.

Its packages import every generated model and API class when they are first touched: 36 MiB and half a second for code
that never runs here. What reads configuration, tokens and TLS files needs none of that, so those modules are imported
under stand-ins for their two parent packages, which are taken away again: whoever imports the library afterwards gets
the whole of it. Whatever does not go as expected, the plain import follows (docs/decisions/0009). Neighbour:
``connection``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

import structlog

NAME = "kubernetes_asyncio"
SOURCES = {
    "ConfigException": f"{NAME}.config.config_exception",
    "Configuration": f"{NAME}.client.configuration",
    "InClusterConfigLoader": f"{NAME}.config.incluster_config",
    "KubeConfigLoader": f"{NAME}.config.kube_config",
    "load_kube_config": f"{NAME}.config.kube_config",
}

__all__ = ["ConfigException", "Configuration", "InClusterConfigLoader", "KubeConfigLoader", "load_kube_config"]

_log = structlog.get_logger("wfe.kube.client")


class NotLoaded:
    """Stands for the library's own client, which its configuration module names but never uses for us."""

    def __init__(self, *args: object, **kwargs: object) -> NoReturn:
        raise RuntimeError(f"{NAME} was loaded for configuration only; its own client is not used in this process")


def load() -> dict[str, Any]:
    """The names of SOURCES. Raises ImportError when the library is not installed."""
    if NAME not in sys.modules:
        try:
            return _alone()
        except Exception as error:  # noqa: BLE001 - another layout of the library may fail in any way; we do without
            _log.warning("the Kubernetes library is loaded as a whole, which costs memory", why=repr(error))
        finally:
            _forget()
    return {name: getattr(importlib.import_module(source), name) for name, source in SOURCES.items()}


def _alone() -> dict[str, Any]:
    _stand_in(NAME)
    client = _stand_in(f"{NAME}.client")
    client.Configuration = _take("Configuration")  # type: ignore[attr-defined]  # a module made by hand has no types
    client.ApiClient = NotLoaded  # type: ignore[attr-defined]  # as above
    return {name: _take(name) for name in SOURCES}


def _take(name: str) -> Any:
    return getattr(importlib.import_module(SOURCES[name]), name)


def _stand_in(package: str) -> ModuleType:
    """A package whose submodules can be imported although its own ``__init__`` never runs."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"{package} is no package")
    module = importlib.util.module_from_spec(spec)
    sys.modules[package] = module
    return module


def _forget() -> None:
    for name in [name for name in sys.modules if name == NAME or name.startswith(f"{NAME}.")]:
        del sys.modules[name]


if TYPE_CHECKING:
    from kubernetes_asyncio.client import Configuration
    from kubernetes_asyncio.config import ConfigException
    from kubernetes_asyncio.config.incluster_config import InClusterConfigLoader
    from kubernetes_asyncio.config.kube_config import KubeConfigLoader, load_kube_config
else:
    globals().update(load())
