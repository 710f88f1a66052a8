"""What the cache needs of the API client, as Protocols, so that a fake can stand in."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from wfe_controller.kube.objects import Resource


class ListedPage(Protocol):
    """One page: raw JSON items, the list's resourceVersion, the continue token ("" = last page)."""

    @property
    def items(self) -> Sequence[bytes | msgspec.Raw]: ...

    @property
    def resource_version(self) -> str: ...

    @property
    def continue_token(self) -> str: ...


class Lines(Protocol):
    """The events of one open watch as JSON lines; ``skipped`` counts lines too long to be delivered (W4)."""

    @property
    def skipped(self) -> int: ...

    def __aiter__(self) -> Lines: ...

    async def __anext__(self) -> bytes: ...


class ListWatch(Protocol):
    """The part of ``client.Api`` that informers use. Every failure is a KubeError."""

    async def list_page(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        label_selector: str,
        field_selector: str,
        limit: int | None,
        continue_token: str = "",
        resource_version: str | None = None,
        resource_version_match: str | None = None,
    ) -> ListedPage: ...

    def watch(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        label_selector: str,
        field_selector: str,
        resource_version: str,
        timeout_seconds: int,
        send_initial_events: bool = False,
        idle_timeout: float,
    ) -> AbstractAsyncContextManager[Lines]: ...
