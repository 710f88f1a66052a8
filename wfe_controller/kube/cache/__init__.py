"""Objects of the API server in memory: informers, their stores, and the check that own writes were seen."""

from wfe_controller.kube.cache.cached import CachedObject, MalformedObject, ObjectDecoder
from wfe_controller.kube.cache.changes import Added, Change, Deleted, Updated
from wfe_controller.kube.cache.consistency import Consistency, Fresh, Waiting
from wfe_controller.kube.cache.indexes import IndexFunc, by_field, by_label, by_namespace
from wfe_controller.kube.cache.informer import Handler, Informer, Registration
from wfe_controller.kube.cache.source import ListedPage, ListWatch
from wfe_controller.kube.cache.store import Store
from wfe_controller.kube.cache.transforms import Transform, drop, keep
from wfe_controller.kube.cache.watcher import WatchSettings

__all__ = [
    "Added",
    "CachedObject",
    "Change",
    "Consistency",
    "Deleted",
    "Fresh",
    "Handler",
    "IndexFunc",
    "Informer",
    "ListWatch",
    "ListedPage",
    "MalformedObject",
    "ObjectDecoder",
    "Registration",
    "Store",
    "Transform",
    "Updated",
    "Waiting",
    "WatchSettings",
    "by_field",
    "by_label",
    "by_namespace",
    "drop",
    "keep",
]
