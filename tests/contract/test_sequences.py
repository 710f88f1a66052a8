"""Sequences nobody thought of: seeded random writes to one small set of objects, the same on both servers.

What is drawn depends on the seed and on what was seen so far in symbols only (names, whether something exists), so that
both servers are asked the same. Background work is kept out: nothing has owners, and finalizers are taken away by hand.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.session import Session

Json = dict[str, Any]
STEPS = 40
NAMES = ("a", "b")
LABELS = ({"x": "1"}, {"x": "2", "y": "3"}, {}, {"x": 5}, {"bad key": "1"})
FINALIZERS = ([], ["e.x/y"], ["e.x/y", "e.x/z"], None, ["bad"])
VALUES = ("1", "2", "", None, 5, {"k": "v"}, ["1"])
MANAGERS = ("m", "n", "")


class Player:
    """One game on one server."""

    def __init__(self, api: Session, seed: str) -> None:
        self.api, self.draw = api, random.Random(seed)
        self.versions: dict[str, list[str]] = {}
        self.moves: list[tuple[int, Callable[[], None]]] = [
            (5, self.create),
            (5, self.replace),
            (8, self.patch),
            (8, self.apply),
            (5, self.status),
            (4, self.delete),
            (1, self.delete_all),
            (3, self.list),
        ]

    def play(self) -> None:
        for _ in range(STEPS):
            move = self.draw.choices([one for _, one in self.moves], [weight for weight, _ in self.moves])[0]
            move()

    # -- what is drawn ---------------

    def target(self) -> tuple[bool, str, str]:
        """Ours or not, the collection, a name."""
        ours = self.draw.random() < 0.5
        return ours, (self.api.wfe() if ours else self.api.cm()), self.draw.choice(NAMES)

    def metadata(self) -> Json:
        found: Json = {}
        if self.draw.random() < 0.5:
            found["labels"] = self.draw.choice(LABELS)
        if self.draw.random() < 0.4:
            found["finalizers"] = self.draw.choice(FINALIZERS)
        return found

    def content(self, ours: bool) -> Json:
        value = self.draw.choice(VALUES)
        if not ours:
            return {self.draw.choice(("data", "data", "binaryData", "other")): {"k": value}}
        field = self.draw.choice(("rationale", "confidence", "parameters", "unknown"))
        return {"spec": {field: {"REPLICAS": value} if field == "parameters" else value}}

    def whole(self, ours: bool, name: str) -> Json:
        made = self.api.execution(name) if ours else self.api.config_map(name, {"k": "v"})
        made["metadata"].update(self.metadata())
        if self.draw.random() < 0.3:
            content = self.content(ours)
            for field, value in content.items():
                made[field] = {**made.get(field, {}), **value}
        return made

    def options(self) -> Json:
        found: Json = {}
        if self.draw.random() < 0.2:
            found["dryRun"] = "All"
        if self.draw.random() < 0.3:
            found["fieldValidation"] = self.draw.choice(("Strict", "Warn", "Ignore"))
        return found

    def version(self, path: str) -> str | None:
        """None, one that was seen of the object, newest or not."""
        seen = self.versions.get(path, [])
        kind = self.draw.random()
        return None if kind < 0.4 or not seen else seen[-1] if kind < 0.8 else seen[0]

    def ask(self, method: str, path: str, body: Any, **more: Any) -> None:
        """One request whose code is whatever it is: the transcript has it."""
        answer = self.api.call(method, path, body, 0, any_code=True, show=shown, **more)
        metadata = answer.get("metadata", {}) if isinstance(answer, dict) else {}
        if metadata.get("resourceVersion") and metadata.get("uid"):
            key = path if not path.endswith("/status") else path.removesuffix("/status")
            self.versions.setdefault(key, []).append(metadata["resourceVersion"])

    # -- moves ---------------

    def create(self) -> None:
        ours, place, name = self.target()
        self.ask("POST", place, self.whole(ours, name), **self.options())

    def replace(self) -> None:
        ours, place, name = self.target()
        body = self.whole(ours, name)
        version = self.version(f"{place}/{name}")
        if version:
            body["metadata"]["resourceVersion"] = version
        self.ask("PUT", f"{place}/{name}", body, **self.options())

    def patch(self) -> None:
        ours, place, name = self.target()
        kind = self.draw.choice(("merge", "json") if ours else ("merge", "strategic", "json"))
        body: Any = {"metadata": self.metadata(), **(self.content(ours) if self.draw.random() < 0.6 else {})}
        if kind == "json":
            label = self.draw.choice(("/metadata/labels", "/metadata/labels/x", "/metadata/finalizers", "/data/k"))
            operation = self.draw.choice(("add", "replace", "remove", "test"))
            body = [{"op": operation, "path": label, "value": self.draw.choice(({"x": "9"}, "9", ["e.x/y"]))}]
        else:
            version = self.version(f"{place}/{name}")
            if version and self.draw.random() < 0.3:
                body["metadata"]["resourceVersion"] = version
        self.ask("PATCH", f"{place}/{name}", body, patch=kind, **self.options())

    def apply(self) -> None:
        ours, place, name = self.target()
        body = self.whole(ours, name)
        # A real server stores empty collections that were applied, and a later write of nothing takes them away.
        body["metadata"] = {field: value for field, value in body["metadata"].items() if value}
        if self.draw.random() < 0.5:
            body.pop("data", None)
        more: Json = {"fieldManager": self.draw.choice(MANAGERS), **self.options()}
        if self.draw.random() < 0.4:
            more["force"] = "true"
        self.ask("PATCH", f"{place}/{name}", body, patch="apply", managed=True, **more)

    def status(self) -> None:
        name = self.draw.choice(NAMES)
        phase = self.draw.choice(("Pending", "Running", "Nonsense", None, 5))
        body = {"status": {"phase": phase}, "spec": {"rationale": "not here"}, "metadata": self.metadata()}
        self.ask("PATCH", f"{self.api.wfe(name)}/status", body, patch="merge", **self.options())

    def delete(self) -> None:
        _, place, name = self.target()
        body: Json = {}
        if self.draw.random() < 0.3:
            body["preconditions"] = {"resourceVersion": self.version(f"{place}/{name}") or "1"}
        if self.draw.random() < 0.3:
            body["dryRun"] = ["All"]
        self.ask("DELETE", f"{place}/{name}", body)

    def delete_all(self) -> None:
        _, place, _ = self.target()
        self.ask("DELETE", place, {}, labelSelector=self.draw.choice(("x=1", "x", "!x,y")))

    def list(self) -> None:
        _, place, _ = self.target()
        selector = self.draw.choice(("x", "x=2", "x in (1,2),y", "x!=1,y", "x notin (2)"))
        fields = self.draw.choice(("", "metadata.name=a", "metadata.name!=b,metadata.name!=kube-root-ca.crt"))
        more = {"fieldSelector": fields} if fields else {"fieldSelector": "metadata.name!=kube-root-ca.crt"}
        self.ask("GET", place, None, labelSelector=selector, **more)


def shown(seen: Any) -> Any:
    """Refusals without the objects they quote, lists by their names, everything else whole."""
    if not isinstance(seen, dict):
        return seen
    if seen.get("kind") == "Status" and "message" in seen:
        message = seen["message"]
        if 'Invalid value: "{' in message or "Invalid value: {" in message or "map[" in message:
            message = message.partition("Invalid value")[0]
        head, several, rest = message.partition("errors:\n")
        if "field not declared" in message:  # and whatever the order of a Go map brought before it
            message = message.partition("): ")[0]
        elif several:  # in the order of a Go map
            message = head + several + "\n".join(sorted(rest.split("\n")))
        return [seen.get("reason"), message]
    if "items" in seen:
        return [item["metadata"]["name"] for item in seen["items"]]
    managed = seen.get("metadata", {}).get("managedFields")
    if managed:  # their order goes by the second
        entries = sorted(managed, key=lambda one: (one["operation"], one["manager"], one.get("subresource", "")))
        return {**seen, "metadata": {**seen["metadata"], "managedFields": entries}}
    return seen


@pytest.mark.parametrize("seed", [f"game-{number}" for number in range(12)])
def test_random_writes(api: Session, seed: str) -> None:
    Player(api, seed).play()
