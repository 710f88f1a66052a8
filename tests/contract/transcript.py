"""What a case saw, made comparable between two servers and two days.

Only what cannot be equal is replaced, each by a symbol that keeps identity: ``uid-1`` is the same uid wherever it
stands in one transcript. managedFields are left out unless a case is about them; nothing else is.
"""

from __future__ import annotations

import re
from typing import Any

UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
NUMBERS = re.compile(
    r"(?P<before>too old resource version: \d+ \(|Too large resource version: \d+, current: "
    r"|ResourceVersion in precondition: "
    r"|ResourceVersion in object meta: |the ResourceVersion in (?:record|the precondition) \("
    r"|resourceVersion[\\\\\":]{1,6})\d+"
)
ADDRESS = re.compile(r"127\.0\.0\.1:\d+")
VOLUME = re.compile(r"kube-api-access-[a-z0-9]{5}")


class Symbols:
    """The replacements of one transcript."""

    def __init__(self) -> None:
        self._aliases: dict[str, str] = {}
        self._uids: dict[str, str] = {}
        self._versions: dict[str, str] = {}

    def alias(self, value: str, symbol: str) -> None:
        """Show ``symbol`` wherever ``value`` stands (a generated name, the namespace of the case)."""
        self._aliases[value] = symbol

    def clean(self, value: Any, *, managed: bool = False, inside: str = "") -> Any:
        """A copy of a JSON value with symbols."""
        if isinstance(value, dict):
            return self._clean_object(value, managed, inside)
        if isinstance(value, list):
            return [self.clean(entry, managed=managed) for entry in value]
        if isinstance(value, str):
            return self.text(value)
        return value

    def text(self, text: str) -> str:
        for value, symbol in self._aliases.items():
            text = text.replace(value, symbol)
        text = UID.sub(lambda found: self._uids.setdefault(found[0], f"uid-{len(self._uids) + 1}"), text)
        text = NUMBERS.sub(lambda found: f"{found['before']}N", text)
        return VOLUME.sub("kube-api-access-XXXXX", ADDRESS.sub("ADDRESS", TIME.sub("TIME", text)))

    def _clean_object(self, value: dict[str, Any], managed: bool, inside: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        listing = isinstance(value.get("items"), list) or value.get("kind") == "Table"
        for key, entry in value.items():
            if key == "managedFields" and not managed:
                continue
            last = key.rpartition(".")[2]  # keys of picked values are whole paths
            if last == "resourceVersion" and isinstance(entry, str) and not entry.isdigit():
                found[key] = self.text(entry)
            elif last == "resourceVersion" and isinstance(entry, str) and entry:
                if inside == "list metadata":
                    found[key] = "RV"
                else:
                    found[key] = self._versions.setdefault(entry, f"rv-{len(self._versions) + 1}")
            elif key == "continue" and entry and inside == "list metadata":
                found[key] = "CONTINUE"
            else:
                place = "list metadata" if listing and key == "metadata" else ""
                found[self.text(key)] = self.clean(entry, managed=managed, inside=place)
        return found


def pick(value: Any, paths: str) -> Any:
    """Only these dotted paths of an object (space-separated; of each item, for a list); missing ones are left out."""
    if isinstance(value, dict) and isinstance(value.get("items"), list):
        return [pick(item, paths) for item in value["items"]]
    found: dict[str, Any] = {}
    for path in paths.split():
        node = value
        for part in path.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if node is not None:
            found[path] = node
    return found
