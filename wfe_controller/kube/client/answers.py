"""What an answer says: objects, list pages, refusals, dates. Pure; neighbours: ``transport`` below, ``api`` above.

JSON is decoded by msgspec; a body that is not what the API sends becomes a typed error, never a decoder's.
"""

from __future__ import annotations

import email.utils
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from wfe_controller.kube.client.transport import Response
from wfe_controller.kube.errors import ApiError, ConnectionFailed, api_error
from wfe_controller.kube.objects import Json, Resource

TEXT_LIMIT = 2000
"""Bytes of a refusal that is no Status, for the message."""
_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class ListPage:
    """One answer to a LIST.

    ``items`` are views into the page's buffer (``bytes(item)`` copies what is kept) and lack apiVersion and kind, as
    the server leaves them out. ``remaining`` is the server's estimate of items on later pages, None when not said.
    """

    items: list[msgspec.Raw]
    resource_version: str
    continue_token: str
    remaining: int | None


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")
    remaining_item_count: int | None = None


class _RawList(msgspec.Struct):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[msgspec.Raw] | None = None


_decode_list = msgspec.json.Decoder(_RawList).decode


def decode_object(response: Response) -> Json:
    """The JSON object of a success. Raises ConnectionFailed when the body is none."""
    try:
        return _decode(response.body)
    except _UNDECODABLE as error:
        raise _undecodable(response, error) from error


def decode_list(response: Response) -> ListPage:
    """The page of a successful LIST; the items stay bytes. Raises ConnectionFailed."""
    try:
        page = _decode_list(response.body)
    except _UNDECODABLE as error:
        raise _undecodable(response, error) from error
    meta = page.metadata
    return ListPage(page.items or [], meta.resource_version, meta.continue_, meta.remaining_item_count)


def decode_items(page: ListPage, resource: Resource) -> list[Json]:
    """The page's objects with apiVersion and kind filled in. Raises ConnectionFailed."""
    try:
        return [{"apiVersion": resource.api_version, "kind": resource.kind, **_decode(raw)} for raw in page.items]
    except _UNDECODABLE as error:
        raise ConnectionFailed(f"an item of the list of {resource.plural} cannot be decoded: {error}") from error


def refusal(response: Response, now: datetime) -> ApiError:
    """The typed error of an answer with status >= 300; ``now`` turns a Retry-After date into seconds."""
    try:
        status: Json | None = _decode(response.body)
    except _UNDECODABLE:
        status = None  # a proxy's page; its beginning becomes the message
    text = response.body[:TEXT_LIMIT].decode("utf-8", "replace").strip()
    retry_after = _retry_after(response.headers.get("Retry-After", ""), now)
    return api_error(response.status, status, retry_after=retry_after, text=text)


def http_date(header: str) -> datetime | None:
    """An HTTP date (always GMT) as an aware instant; None for anything else."""
    try:
        return email.utils.parsedate_to_datetime(header).replace(tzinfo=UTC)
    except ValueError:
        return None


def _retry_after(header: str, now: datetime) -> float | None:
    """Seconds, from either form of the header: a number or an HTTP date; None when absent or odd."""
    header = header.strip()
    if header.isdecimal() and header.isascii():
        return float(header)
    date = http_date(header)
    return None if date is None else max((date - now).total_seconds(), 0.0)


def _undecodable(response: Response, error: Exception) -> ConnectionFailed:
    """A success whose body is not what the API sends: something between us and the server answered or cut it."""
    return ConnectionFailed(f"answer {response.status} is not a JSON object: {error}; starts {response.body[:100]!r}")
