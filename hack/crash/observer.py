"""The observer: a process of its own with its own watches and the audit log, which judges what it saw.

    python -m hack.crash.observer --kubeconfig FILE --audit-log FILE

One JSON object a line: it says ``{"ready": true}`` once it watches, then answers each ``{"targets": [...]}`` on stdin
with its findings for each. It fails the judgement when it may have missed anything: before each answer it lists
everything anew and waits until its watches have shown the same versions. The API server's audit log has to be there,
and to agree with the watches.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import defaultdict
from dataclasses import asdict
from http.client import HTTPException
from pathlib import Path
from typing import Any

from hack.controlplane.client import Refused, RestClient
from hack.crash.auditlog import AuditLog, compare
from hack.crash.chronicle import EXECUTIONS, LOCKS, PODS, RUNS, Chronicle, Seen, belongs_to, target_hash

PATHS = {
    EXECUTIONS: "/apis/kubernaut.ai/v1alpha1/workflowexecutions",
    LOCKS: "/apis/kubernaut.ai/v1alpha1/targetlocks",
    RUNS: "/apis/tekton.dev/v1/pipelineruns",
    PODS: "/api/v1/pods",
}
CATCH_UP = 15.0
AUDITED = 3.0
"""Seconds for the audit log to show what the watches have shown."""


class Observer:
    """Watches four kinds from :meth:`start` on."""

    def __init__(self, kubeconfig: str, audit_log: Path) -> None:
        self._audit = AuditLog(audit_log)
        self._client = RestClient.from_kubeconfig(kubeconfig)
        self._events: dict[str, list[Seen]] = defaultdict(list)
        self._current: dict[str, dict[str, int]] = {kind: {} for kind in PATHS}
        self._known: dict[str, set[str]] = {kind: set() for kind in PATHS}
        self._changed = threading.Condition()
        self._blind: list[str] = []

    def start(self) -> None:
        """Returns when every kind was listed; the watches go on from there."""
        for kind, path in PATHS.items():
            page = self._client.get(path)
            for obj in page["items"]:
                self._saw(kind, "ADDED", obj)
            args = (kind, path, page["metadata"]["resourceVersion"])
            threading.Thread(target=self._watch, args=args, name=f"watch-{kind}", daemon=True).start()

    def _watch(self, kind: str, path: str, version: str) -> None:
        while True:
            try:
                for event in self._client.watch(path, resource_version=version, seconds=600):
                    if event["type"] == "ERROR":  # 410: what happened meanwhile is lost
                        self._blind.append(f"the watch of {kind} was broken off: {event['object'].get('message')}")
                        return
                    version = event["object"]["metadata"]["resourceVersion"]
                    self._saw(kind, event["type"], event["object"])
            except (Refused, OSError, HTTPException, ValueError):
                time.sleep(0.1)  # again from the last version seen: nothing is missed

    def _saw(self, kind: str, type_: str, obj: dict[str, Any]) -> None:
        meta = obj["metadata"]
        meta.pop("managedFields", None)
        revision = int(meta["resourceVersion"])
        with self._changed:
            self._events[belongs_to(kind, obj)].append(Seen(revision, kind, type_, obj))
            self._known[kind].add(meta["uid"])
            if type_ == "DELETED":
                self._current[kind].pop(meta["uid"], None)
            else:
                self._current[kind][meta["uid"]] = revision
            self._changed.notify_all()

    def judge(self, targets: list[str], *, at_rest: bool = True) -> dict[str, Any]:
        """target -> findings, and ``blind``: why they cannot be trusted."""
        blind = [*self._blind, *self._catch_up()]
        with self._changed:
            events = {target: list(self._events[target_hash(target)]) for target in targets}
        findings = {target: asdict(Chronicle.replay(seen, at_rest=at_rest)) for target, seen in events.items()}
        try:
            for target, wrong in self._audited(events).items():
                findings[target]["wrong"] += wrong
        except (OSError, ValueError) as error:
            blind.append(f"the audit log cannot be read: {error}")
        return {"findings": findings, "blind": blind, "events": sum(map(len, events.values()))}

    def _audited(self, events: dict[str, list[Seen]]) -> dict[str, list[str]]:
        """target -> where the audit log disagrees. A line is written after its answer: what is missing may yet come."""
        deadline = time.monotonic() + AUDITED
        while True:
            self._audit.refresh()
            logged = {target: self._audit.about(target_hash(target), seen) for target, seen in events.items()}
            found = {
                target: compare(seen, logged[target]) if logged[target] or not seen else ["not in the audit log"]
                for target, seen in events.items()
            }
            if not any(found.values()) or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    def history(self, target: str) -> list[dict[str, Any]]:
        """Every event of a target in order, for a person who looks for the reason."""
        with self._changed:
            events = sorted(self._events[target_hash(target)], key=lambda seen: seen.revision)
        return [
            {
                "revision": e.revision,
                "kind": e.kind,
                "type": e.type,
                "name": e.obj["metadata"]["name"],
                "deleting": e.obj["metadata"].get("deletionTimestamp"),
                "finalizers": e.obj["metadata"].get("finalizers"),
                "uid": e.obj["metadata"]["uid"],
                "spec.status": (e.obj.get("spec") or {}).get("status"),
                "status": e.obj.get("status"),
            }
            for e in events
        ]

    def _catch_up(self) -> list[str]:
        """What the server has now must have come by the watches, too."""
        for kind, path in PATHS.items():
            listed = {
                o["metadata"]["uid"]: int(o["metadata"]["resourceVersion"]) for o in self._client.get(path)["items"]
            }

            def shown(kind: str = kind, listed: dict[str, int] = listed) -> bool:
                current = self._current[kind]
                return all(current.get(uid, 0) >= revision for uid, revision in listed.items() if uid in current) and (
                    listed.keys() <= self._known[kind]
                )

            with self._changed:
                if not self._changed.wait_for(shown, timeout=CATCH_UP):
                    return [f"the watch of {kind} does not show what the server has"]
        return []


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m hack.crash.observer", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--audit-log", required=True, type=Path)
    options = parser.parse_args()
    observer = Observer(options.kubeconfig, options.audit_log)
    observer.start()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        answer: Any
        if "history" in asked:
            answer = observer.history(asked["history"])
        else:
            answer = observer.judge(asked["targets"], at_rest=asked.get("at_rest", True))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
