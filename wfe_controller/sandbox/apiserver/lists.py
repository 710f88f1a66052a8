"""GET: one object, a list, a watch. What may be asked, which state is read, and how it is written.

Lists read the current state, an exact older one, or go on where a continue token ends; older states come out of the
history of ``store``. Bytes of stored objects are copied into lists and watch lines as they are, unless somebody asked
for another form (Table, metadata only, YAML).
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from wfe_controller.sandbox.apiserver import selectors, table
from wfe_controller.sandbox.apiserver.core import Answer, Call, Core
from wfe_controller.sandbox.apiserver.listoptions import ListOptions, list_options
from wfe_controller.sandbox.apiserver.negotiation import metadata_only
from wfe_controller.sandbox.apiserver.options import revision, untyped
from wfe_controller.sandbox.apiserver.status import StatusError, bad_request, expired, quote
from wfe_controller.sandbox.apiserver.store import Event, Stored, select
from wfe_controller.sandbox.apiserver.watch import Matcher, Watch

Json = dict[str, Any]

TOO_LARGE_SECONDS = 3.0
"""How long a read waits for a resourceVersion that does not exist yet."""
WATCH_SECONDS = 1800
"""A watch without timeoutSeconds ends after this, or up to twice as long."""
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_TOO_OLD_TOKEN = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


# -- which objects --------------------


def matcher(call: Call, options: ListOptions) -> Matcher | None:
    """The selectors, the namespace and the name of a request as one predicate; None = everything matches."""
    tests: list[Matcher] = []
    namespace, name = call.namespace, call.name
    if namespace:
        tests.append(lambda stored: stored.namespace == namespace)
    if name:
        tests.append(lambda stored: stored.name == name)
    if options.labels:
        labels = selectors.parse_labels(options.labels)
        tests.append(lambda stored: labels(stored.labels))
    if options.fields:
        chosen = selectors.parse_fields(options.fields, call.kind.field_names, call.info.custom, _unknown_field(call))
        tests.append(
            lambda stored: chosen(
                {**stored.fields, "metadata.name": stored.name, "metadata.namespace": stored.namespace}
            )
        )
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda stored: all(test(stored) for test in tests)


def _unknown_field(call: Call) -> str | None:
    """How this kind refuses a field it cannot select by; None = as most do."""
    info = call.info
    if info.custom or not info.selectable_fields:
        return None
    if info.group_resource == "jobs.batch":
        return 'field label "{}" not supported for Job'
    return "field label not supported: {}"


# -- one object --------------------


async def get(core: Core, call: Call) -> Answer:
    wanted = call.request.param("resourceVersion")
    if wanted:
        await _wait_for(core, _revision_or_500(wanted))
    stale = core.stale(call)
    source = call.kind.table
    stored = source.get(call.key) if stale is None else source.at(max(stale, source.oldest))[0].get(call.key)
    if stored is None:
        raise call.missing()
    return Answer(200, stored=stored)


def _revision_or_500(text: str) -> int:
    try:
        return revision(text)
    except ValueError as error:
        raise untyped(error, f"resourceVersion: Invalid value: {quote(text)}: ") from error


async def _wait_for(core: Core, wanted: int) -> None:
    """Wait until the store is at a revision. Raises 504 when it does not come."""
    if core.store.revision >= wanted:
        return
    await asyncio.wait([core.store.reached(wanted)], timeout=TOO_LARGE_SECONDS)
    if core.store.revision < wanted:
        text = f"Timeout: Too large resource version: {wanted}, current: {core.store.revision}"
        causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
        details = {"causes": causes, "retryAfterSeconds": 1}
        raise StatusError(504, "Timeout", text, details, {"Retry-After": "1"})


# -- lists --------------------


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a list. ``remaining`` None = not known."""

    chosen: list[Stored]
    revision: int
    token: str
    remaining: int | None


async def list_page(core: Core, call: Call) -> Page:
    """The objects a list asks for."""
    options = list_options(call, watch=False)
    matches = matcher(call, options)
    if options.token:
        if options.resource_version and options.resource_version != "0":
            raise bad_request("specifying resource version is not allowed when using continue")
        at, after, exact = _read_token(core, call, options.token)
    else:
        at, after, exact = core.store.revision, "", False
        if options.resource_version:
            try:
                wanted = revision(options.resource_version)
            except ValueError as error:
                shown = quote(options.resource_version)
                raise bad_request(
                    f"invalid resource version: resourceVersion: Invalid value: {shown}: {error}"
                ) from error
            await _wait_for(core, wanted)
            at = core.store.revision
            exact = options.match == "Exact" or (options.limit > 0 and wanted > 0 and not options.match)
            if exact:
                at = wanted
    source = call.kind.table
    stale = None if exact else core.stale(call)
    if stale is not None:
        at, exact = max(stale, source.oldest), True
    if exact:
        if at < source.oldest:
            raise _too_old(call, options, after)
        objects, ordered = source.at(at)
        keys: Sequence[str] = select(ordered, call.namespace, after)
    else:
        objects, keys = source.objects, list(source.keys(call.namespace, after))
    # Version 0 is read from the cache, which knows no pages.
    limit = 0 if options.resource_version == "0" and not options.token else options.limit
    return _page(call, options, limit, matches, objects, keys, at)


def _page(
    call: Call,
    options: ListOptions,
    limit: int,
    matches: Matcher | None,
    objects: dict[str, Stored],
    keys: Sequence[str],
    at: int,
) -> Page:
    chosen: list[Stored] = []
    for index, key in enumerate(keys):
        stored = objects[key]
        if matches is not None and not matches(stored):
            continue
        if limit and len(chosen) == limit:
            left = len(keys) - index
            known = not options.labels and not options.fields
            return Page(chosen, at, _write_token(call, at, chosen[-1].key), left if known else None)
        chosen.append(stored)
    return Page(chosen, at, "", None)


def _start(call: Call, key: str) -> str:
    """A key as tokens have it: below what the list covers, and the first one after it."""
    if call.namespace:
        key = key.partition("/")[2]
    return f"/{key}\0"


def _write_token(call: Call, at: int, key: str) -> str:
    return encode_token(at, _start(call, key))


def encode_token(at: int, start: str) -> str:
    """A continue token as etcd3 storage writes it."""
    data = msgspec.json.encode({"v": "meta.k8s.io/v1", "rv": at, "start": start})
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _read_token(core: Core, call: Call, token: str) -> tuple[int, str, bool]:
    """Revision, the key after which to go on, and whether that exact revision is meant."""
    prefix = "invalid continue token: continue key is not valid"
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError as error:
        raise bad_request(f"{prefix}: illegal base64 data at input byte 0") from error
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        first = data[:1].decode("latin-1")
        shown = first if " " <= first <= "~" else f"\\u{ord(first):04x}"
        raise bad_request(f"{prefix}: invalid character '{shown}' looking for beginning of value") from error
    version = found.get("v") if isinstance(found, dict) else None
    if version != "meta.k8s.io/v1":
        raise bad_request(f"{prefix}: server does not recognize this encoded version {version or ''}")
    at, start = found.get("rv"), found.get("start")
    if not isinstance(at, int) or at == 0:
        raise bad_request(f"{prefix}: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    if not isinstance(start, str) or not start:
        raise bad_request(f"{prefix}: encoded start key empty (version meta.k8s.io/v1)")
    after = start.lstrip("/")
    after = after[:-1] if after.endswith("\0") else after
    if call.namespace:
        after = f"{call.namespace}/{after}"
    if at < 0:
        return core.store.revision, after, False
    return at, after, True


def _too_old(call: Call, options: ListOptions, after: str) -> StatusError:
    if not options.token:
        return expired("The resourceVersion for the provided list is too old.")
    error = expired(_TOO_OLD_TOKEN)
    error.metadata = {"continue": encode_token(-1, _start(call, after))}
    return error


def render_list(core: Core, call: Call, page: Page) -> Answer:
    """A page in the form that was asked for."""
    kind, info = call.kind, call.info
    metadata: Json = {"resourceVersion": str(page.revision)}
    if page.token:
        metadata["continue"] = page.token
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
    transform = call.form.transform
    if transform == "Table":
        return Answer(200, obj=_table(core, call, page.chosen, metadata))
    if transform.startswith("PartialObjectMetadata"):
        items = [metadata_only(kind.load(stored), call.form) for stored in page.chosen]
        listed: Json = {"kind": "PartialObjectMetadataList", "apiVersion": call.form.version, "metadata": metadata}
        return Answer(200, obj={**listed, "items": items})
    encode = msgspec.json.encode
    if info.custom:
        metadata.setdefault("continue", "")
        head = b'{"apiVersion":%b,"items":[' % encode(info.api_version)
        tail = b'],"kind":%b,"metadata":%b}\n' % (encode(info.list_kind), encode(metadata))
    else:
        names = (encode(info.list_kind), encode(info.api_version), encode(metadata))
        head, tail = b'{"kind":%b,"apiVersion":%b,"metadata":%b,"items":[' % names, b"]}\n"
    # One buffer that grows: joining would hold every item and the whole at once, which for large lists is the peak.
    body = io.BytesIO()
    body.write(head)
    for index, stored in enumerate(page.chosen):
        if index:
            body.write(b",")
        body.write(kind.encode_item(stored))
    body.write(tail)
    return Answer(200, data=body.getvalue())


def _table(core: Core, call: Call, chosen: Sequence[Stored], metadata: Json, *, columns: bool = True) -> Json:
    include = call.request.param("includeObject", "Metadata")
    objs = [call.kind.load(stored) for stored in chosen]
    made = table.table(
        call.info, objs, include_object=include, now=core.now(), columns=columns, version=call.form.version
    )
    made["metadata"] = metadata
    return made


def render_one(core: Core, call: Call, obj: Json) -> Json:
    """One object in the form that was asked for."""
    transform = call.form.transform
    if transform == "Table":
        include = call.request.param("includeObject", "Metadata")
        made = table.table(call.info, [obj], include_object=include, now=core.now(), version=call.form.version)
        made["metadata"] = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        return made
    return metadata_only(obj, call.form) if transform else obj


# -- watches --------------------


def open_watch(core: Core, call: Call) -> Watch:
    """A watch that hears of everything from now on, whenever its lines are read."""
    options = list_options(call, watch=True)
    matches = matcher(call, options)
    table_ = call.kind.table
    text = options.resource_version
    wanted = _revision_or_500(text) if text else 0
    render = _renderer(core, call)
    first: list[bytes] = []
    backlog: list[Event] = []
    initial = options.initial if options.initial is not None else wanted == 0
    now = core.store.revision
    oldest = max(table_.oldest, table_.watched_from)
    too_old = not initial and 0 < wanted < oldest
    if initial:
        keys = list(table_.keys(call.namespace))
        for stored in (table_.objects[key] for key in keys):
            if matches is None or matches(stored):
                first.append(render("ADDED", stored))
        if options.bookmarks:  # also for who asked for no version, or for 0, as of old
            first.append(_bookmark(call, now, end=True))
    elif not too_old and wanted:
        backlog = table_.since(wanted)
    timeout = options.timeout if options.timeout else WATCH_SECONDS * (1 + core.rng.random())
    watch = Watch(
        table_,
        matches=matches,
        render=render,
        bookmark=(lambda at: _bookmark(call, at)) if options.bookmarks else None,
        revision=lambda: core.store.revision,
        timeout=timeout,
        first=first,
        backlog=backlog,
        interval=core.bookmark_seconds,
    )
    if too_old:
        watch.cut(error_line(expired(f"too old resource version: {wanted} ({oldest})")))
    return watch


def error_line(error: StatusError) -> bytes:
    """The ERROR event of a refusal."""
    return b'{"type":"ERROR","object":' + msgspec.json.encode(error.to_json()) + b"}\n"


def _renderer(core: Core, call: Call) -> Callable[[str, Stored], bytes]:
    kind, transform = call.kind, call.form.transform
    if not transform:
        return kind.lines.line
    if transform == "Table":
        sent = False

        def row(type_: str, stored: Stored) -> bytes:
            # Column definitions come once, with the first event.
            nonlocal sent
            made = _table(core, call, [stored], {"resourceVersion": str(stored.revision)}, columns=not sent)
            sent = True
            return msgspec.json.encode({"type": type_, "object": made}) + b"\n"

        return row

    def partial(type_: str, stored: Stored) -> bytes:
        made = metadata_only(kind.load(stored), call.form)
        return msgspec.json.encode({"type": type_, "object": made}) + b"\n"

    return partial


def _bookmark(call: Call, at: int, *, end: bool = False) -> bytes:
    metadata: Json = {"resourceVersion": str(at)}
    if end:
        metadata["annotations"] = {_INITIAL_EVENTS_END: "true"}
    obj = {"kind": call.info.kind, "apiVersion": call.info.api_version, "metadata": metadata}
    return msgspec.json.encode({"type": "BOOKMARK", "object": obj}) + b"\n"
