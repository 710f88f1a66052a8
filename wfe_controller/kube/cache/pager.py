"""One LIST as a sequence of requests: which resourceVersion, which limit, what after a page, what after a 410. Pure.

Pages of 500 only for a quorum list (RV unset) or "0"; with a concrete RV no limit, so that the server answers from its
watch cache (I-3). A 410 on page 2 or later (the continue token aged out) is answered by one full list without limit.
Neighbour: ``watcher``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.objects import ObjectKey


@dataclass(frozen=True, slots=True)
class ListRequest:
    """Parameters of one LIST call. ``resource_version`` None = unset = quorum read."""

    resource_version: str | None = None
    resource_version_match: str | None = None
    limit: int | None = None
    continue_token: str = ""


@dataclass(slots=True)
class Listing:
    """A list in progress: the request being answered and what came so far."""

    request: ListRequest
    objects: dict[ObjectKey, CachedObject] = field(default_factory=dict)

    @classmethod
    def start(cls, resource_version: str | None, page_size: int) -> Listing:
        """``resource_version`` None or "" for quorum, else "not older than that one"."""
        if not resource_version:
            return cls(ListRequest(limit=page_size))
        if resource_version == "0":
            return cls(ListRequest(resource_version="0", limit=page_size))
        return cls(ListRequest(resource_version=resource_version, resource_version_match="NotOlderThan"))

    def page(self, objects: list[CachedObject], continue_token: str) -> ListRequest | None:
        """Take one page in; the request of the next one, or None when that was the last.

        The continue token carries the version of the first page, so a version next to it would be an error.
        """
        for obj in objects:
            self.objects[obj.key] = obj
        if not continue_token:
            return None
        self.request = ListRequest(limit=self.request.limit, continue_token=continue_token)
        return self.request

    def expired(self) -> ListRequest | None:
        """The continue token was refused: one full unpaged quorum list, once. None when this was no later page."""
        if not self.request.continue_token:
            return None
        self.objects = {}
        self.request = ListRequest()
        return self.request
