"""Watches: replay, bookmarks, ends, expiry in both forms, WatchList, selectors."""

from __future__ import annotations

import pytest

from tests.contract.session import TABLE, Session

BRIEF = "metadata.name metadata.labels metadata.resourceVersion"


def version(api: Session) -> str:
    return str(api.get(api.wfe(), quiet=True)["metadata"]["resourceVersion"])


def change(api: Session, name: str, value: str = "1") -> None:
    api.patch(api.wfe(name), {"metadata": {"labels": {"l": value}}}, quiet=True)


def test_watch_from_a_version(api: Session) -> None:
    """Everything after it in order, and the deleted object in its last state with the version of the deletion."""
    start = version(api)
    api.make(api.wfe(), api.execution("a"))
    change(api, "a")
    api.delete(api.wfe("a"), quiet=True)
    with api.watch(api.wfe(), resourceVersion=start) as events:
        added, modified, deleted = events.next(), events.next(), events.next()
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in (added, modified, deleted)]
    assert versions == sorted(set(versions))
    assert deleted["object"]["metadata"]["labels"] == {"l": "1"}


def test_watch_live(api: Session) -> None:
    with api.watch(api.wfe(), resourceVersion=version(api)) as events:
        made = api.make(api.wfe(), api.execution("a"))
        assert events.next(BRIEF)["object"] == made
        api.patch(api.wfe("a") + "/status", {"status": {"phase": "Pending"}}, quiet=True)
        assert events.next(BRIEF)["object"]["status"] == {"phase": "Pending"}


def test_watch_without_a_version(api: Session) -> None:
    """What is there comes as ADDED first."""
    api.make(api.wfe(), api.execution("a"))
    api.make(api.wfe(), api.execution("b"))
    with api.watch(api.wfe()) as events:
        names = {events.next(show=False)["object"]["metadata"]["name"] for _ in range(2)}
        assert names == {"a", "b"}
        api.make(api.wfe(), api.execution("c"))
        events.next("metadata.name")


def test_watch_from_zero(api: Session) -> None:
    api.make(api.wfe(), api.execution("a"))
    with api.watch(api.wfe(), resourceVersion="0") as events:
        events.next(BRIEF)
        change(api, "a")
        events.next(BRIEF)


def test_watch_built_ins(api: Session) -> None:
    start = version(api)
    api.make(api.path("secrets"), {"metadata": {"name": "s"}})
    with api.watch(api.path("secrets"), resourceVersion=start) as events:
        events.next()


@pytest.mark.parametrize("flag", ["1", "true", "True", "TRUE", "t"])
def test_watch_flag(api: Session, flag: str) -> None:
    api.make(api.wfe(), api.execution("a"))
    with api.watch(api.wfe(), watch=flag) as events:
        events.next("metadata.name")


@pytest.mark.parametrize("flag", ["0", "false", "no", ""])
def test_not_a_watch_flag(api: Session, flag: str) -> None:
    api.make(api.wfe(), api.execution("a"))
    if flag in ("0", "false"):
        api.get(api.wfe(), keep="metadata.name", watch=flag)
        return
    with api.watch(api.wfe(), watch=flag, timeoutSeconds=1) as events:
        events.next("metadata.name")


def test_watch_times_out(api: Session) -> None:
    with api.watch(api.wfe(), resourceVersion=version(api), timeoutSeconds=1) as events:
        assert events.rest() == []


def test_watch_bad_timeout(api: Session) -> None:
    with api.watch(api.wfe(), 400, timeoutSeconds="x"):
        pass


def test_watch_expired(api: Session) -> None:
    """410 as an ERROR event in a stream that was answered 200."""
    api.make(api.wfe(), api.execution("a"))
    with api.watch(api.wfe(), resourceVersion="1") as events:
        events.rest()


def test_watch_bad_version(api: Session) -> None:
    with api.watch(api.wfe(), 500, resourceVersion="x"):
        pass
    with api.watch(api.wfe(), 500, resourceVersion="-5"):
        pass


def test_watch_from_the_future(api: Session) -> None:
    """An ERROR event at once for whoever has a version that is not there yet."""
    with api.watch(api.wfe(), resourceVersion="900000000", timeoutSeconds=1) as events:
        events.rest()


def test_watch_match_is_forbidden(api: Session) -> None:
    with api.watch(api.wfe(), 422, resourceVersion="0", resourceVersionMatch="NotOlderThan"):
        pass


def test_watch_labels(api: Session) -> None:
    """An object that comes into the selection is ADDED, one that leaves it DELETED."""
    start = version(api)
    api.make(api.wfe(), api.execution("a"))
    api.make(api.wfe(), api.execution("b", labels={"l": "1"}))
    change(api, "a", "1")
    change(api, "b", "2")
    change(api, "b", "3")
    api.delete(api.wfe("a"), quiet=True)
    with api.watch(api.wfe(), resourceVersion=start, labelSelector="l=1") as events:
        seen = [events.next(BRIEF) for _ in range(4)]
    assert [event["type"] for event in seen] == ["ADDED", "ADDED", "DELETED", "DELETED"]


def test_watch_fields(api: Session) -> None:
    start = version(api)
    api.make(api.wfe(), api.execution("a"))
    api.make(api.wfe(), api.execution("b"))
    change(api, "b")
    with api.watch(api.wfe(), resourceVersion=start, fieldSelector="metadata.name=b") as events:
        events.next(BRIEF)
        events.next(BRIEF)


def test_watch_selectable_fields(api: Session) -> None:
    start = version(api)
    api.make(api.wfe(), api.execution("a"))
    for phase in ("Pending", "Running"):
        api.patch(api.wfe("a") + "/status", {"status": {"phase": phase}}, quiet=True)
    with api.watch(api.wfe(), resourceVersion=start, fieldSelector="status.phase=Pending") as events:
        assert events.next(BRIEF)["type"] == "ADDED"
        assert events.next(BRIEF)["type"] == "DELETED"


def test_watch_bad_selectors(api: Session) -> None:
    with api.watch(api.wfe(), 400, labelSelector="a=b=c"):
        pass
    with api.watch(api.wfe(), 400, fieldSelector="spec.nothing=1"):
        pass


def test_watch_one_object(api: Session) -> None:
    """The path of an object has no watch: the flag does not count, the object is answered."""
    api.make(api.wfe(), api.execution("a"))
    api.get(api.wfe("a"), watch="1", keep="kind metadata.name")


def test_watch_all_namespaces(api: Session) -> None:
    start = version(api)
    label = api.unique("l", "LABEL")
    api.make(api.wfe(), api.execution("a", labels={"run": label}))
    other = api.new_namespace("OTHER")
    api.make(api.wfe(namespace=other), api.execution("b", labels={"run": label}))
    with api.watch(api.wfe(namespace=""), resourceVersion=start, labelSelector=f"run={label}") as events:
        events.next("metadata.name metadata.namespace")
        events.next("metadata.name metadata.namespace")


def test_watch_other_namespaces_are_not_seen(api: Session) -> None:
    start = version(api)
    other = api.new_namespace("OTHER")
    api.make(api.wfe(namespace=other), api.execution("b"))
    api.make(api.wfe(), api.execution("a"))
    with api.watch(api.wfe(), resourceVersion=start) as events:
        events.next("metadata.name")


def test_watch_list(api: Session) -> None:
    """Everything that is there, then a bookmark with the annotation that says so, then what happens."""
    api.make(api.wfe(), api.execution("a"))
    made = api.make(api.wfe(), api.execution("b"))
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    with api.watch(api.wfe(), **query) as events:
        first = events.until_bookmark(BRIEF)
        assert int(first[-1]["object"]["metadata"]["resourceVersion"]) >= int(made["metadata"]["resourceVersion"])
        change(api, "a")
        events.next(BRIEF)


def test_watch_list_of_nothing(api: Session) -> None:
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    with api.watch(api.wfe(), **query) as events:
        assert len(events.until_bookmark()) == 1
    with api.watch(api.path("secrets"), **query) as events:
        events.until_bookmark()


def test_watch_list_from_a_version(api: Session) -> None:
    made = api.make(api.wfe(), api.execution("a"))
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    with api.watch(api.wfe(), resourceVersion=made["metadata"]["resourceVersion"], **query) as events:
        events.until_bookmark(BRIEF)


def test_watch_list_off(api: Session) -> None:
    """sendInitialEvents=false: nothing of what is there, from now on."""
    api.make(api.wfe(), api.execution("a"))
    start = version(api)
    query = {"sendInitialEvents": "false", "resourceVersionMatch": "NotOlderThan", "resourceVersion": start}
    with api.watch(api.wfe(), **query) as events:
        api.make(api.wfe(), api.execution("b"))
        events.next("metadata.name")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"sendInitialEvents": "true"}, 422),
        ({"sendInitialEvents": "true", "resourceVersionMatch": "Exact"}, 422),
        ({"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "watch": "0"}, 422),
    ],
    ids=["no-match", "exact", "no-watch"],
)
def test_watch_list_misused(api: Session, query: dict[str, str], code: int) -> None:
    with api.watch(api.wfe(), code, **query):
        pass


def test_watch_list_without_bookmarks(api: Session) -> None:
    """The bookmark that ends the list comes only when bookmarks were allowed."""
    api.make(api.wfe(), api.execution("a"))
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "timeoutSeconds": "1"}
    with api.watch(api.wfe(), **query) as events:
        events.rest(BRIEF)


def test_watch_missing_namespace(api: Session) -> None:
    with api.watch(api.wfe(namespace="not-there"), resourceVersion=version(api), timeoutSeconds=1) as events:
        assert events.rest() == []


def test_watch_finalizers_are_seen(api: Session) -> None:
    start = version(api)
    api.make(api.wfe(), api.execution("a", finalizers=["example.com/a"]))
    api.delete(api.wfe("a"), quiet=True)
    api.patch(api.wfe("a"), {"metadata": {"finalizers": None}}, quiet=True)
    with api.watch(api.wfe(), resourceVersion=start) as events:
        for _ in range(3):
            events.next()


def test_watch_no_write_no_event(api: Session) -> None:
    api.make(api.wfe(), api.execution("a", labels={"l": "1"}))
    start = version(api)
    change(api, "a", "1")
    change(api, "a", "2")
    with api.watch(api.wfe(), resourceVersion=start) as events:
        assert events.next(BRIEF)["object"]["metadata"]["labels"] == {"l": "2"}


def test_watch_dry_run_no_event(api: Session) -> None:
    start = version(api)
    api.make(api.wfe(), api.execution("a"), dryRun="All")
    api.make(api.wfe(), api.execution("b"))
    with api.watch(api.wfe(), resourceVersion=start) as events:
        events.next("metadata.name")


def test_watch_table(api: Session) -> None:
    """Columns come with the first event only."""
    start = version(api)
    api.make(api.wfe(), api.execution("a"))
    change(api, "a")
    with api.watch(api.wfe(), accept=f"{TABLE},application/json", resourceVersion=start) as events:
        first, second = events.next(show=False), events.next(show=False)
    for event in (first, second):
        table = event["object"]
        columns = [column["name"] for column in table.get("columnDefinitions") or []]
        api.show(event["type"], [table["kind"], columns, [row["cells"][:6] for row in table["rows"]]])


def test_watch_metadata_only(api: Session) -> None:
    start = version(api)
    api.make(api.wfe(), api.execution("a"))
    accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    with api.watch(api.wfe(), accept=accept, resourceVersion=start) as events:
        events.next()


def test_watch_slow_reader_and_hundred_events(api: Session) -> None:
    """Nothing is lost when the reader starts late."""
    start = version(api)
    with api.watch(api.wfe(), resourceVersion=start) as events:
        api.make(api.wfe(), api.execution("a"))
        for number in range(100):
            change(api, "a", str(number))
        seen = [events.next(show=False) for _ in range(101)]
    assert [event["object"]["metadata"].get("labels", {}).get("l") for event in seen[1:]] == [
        str(n) for n in range(100)
    ]


def test_watch_client_goes_away(api: Session) -> None:
    """The server goes on as if nothing had happened."""
    start = version(api)
    for _ in range(5):
        with api.watch(api.wfe(), resourceVersion=start):
            pass
    api.make(api.wfe(), api.execution("a"))
    with api.watch(api.wfe(), resourceVersion=start) as events:
        events.next("metadata.name")


def test_watch_content_type(api: Session) -> None:
    with api.watch(api.wfe(), resourceVersion=version(api), timeoutSeconds=1) as events:
        api.show("headers", [events.header("content-type"), events.header("transfer-encoding")])


@pytest.mark.parametrize("version", ["", "0"])
def test_watch_of_old_ends_its_first_events_with_a_bookmark(api: Session, version: str) -> None:
    """Who names no version, or 0, is treated as one that asks for initial events, bookmark included."""
    api.make(api.cm(), api.config_map("a", labels={"x": "y"}))
    more = {"allowWatchBookmarks": "true", "labelSelector": "x=y", "timeoutSeconds": "1"}
    with api.watch(api.cm(), resourceVersion=version, **more) as watch:
        watch.until_bookmark("metadata.name")
