"""Whether what was seen now is what was recorded. Pure.

A recording holds every state. Whoever watches a busy machine may miss some that stand only for moments: two writes of
the kubelet that the API server merged, or that it left out because the next came at once. These may be missing, never
be others, and never be in another order.
"""

from __future__ import annotations

import difflib
from typing import Any

import yaml

Object = dict[str, Any]


def difference(found: Object, recorded: Object) -> str:
    """Empty when there is none that counts; ``found`` and ``recorded`` as ``stage`` or ``workloads`` give them."""
    if same(found, recorded):
        return ""
    before, now = (yaml.safe_dump(item, width=120).splitlines() for item in (recorded, found))
    return "\n".join(difflib.unified_diff(before, now, "recorded", "seen now", lineterm="", n=8))


def same(found: Object, recorded: Object) -> bool:
    return found.keys() == recorded.keys() and all(_same(kind, found[kind], recorded[kind]) for kind in found)


def _same(kind: str, found: Any, recorded: Any) -> bool:
    if kind == "pod":
        return _seen_in(found, recorded)
    if kind == "pods" and isinstance(found, dict):
        return found.keys() == recorded.keys() and all(_seen_in(found[name], recorded[name]) for name in found)
    if kind == "pods":
        return len(found) == len(recorded) and all(_seen_in(*pair) for pair in zip(found, recorded, strict=True))
    return bool(found == recorded)


def _seen_in(found: list[Object], recorded: list[Object]) -> bool:
    """Whether the one is the other less brief states."""
    rest = _told(found)
    for number, state in enumerate(states := _told(recorded)):
        if rest and rest[0] == state:
            rest.pop(0)
        elif not _brief(state) or number == len(states) - 1:
            return False
    return not rest


def _told(states: list[Object]) -> list[Object]:
    """Whole states less what two loops of the kubelet write in either order: that all containers have ended for good,
    and that the sandbox around them is away."""
    found: list[Object] = []
    for state in expanded(states):
        if "gone" not in state and state["phase"] != "Pending" and not _runs(state):
            kept = {name: told for name, told in state["conditions"].items() if name != "PodReadyToStartContainers"}
            state = {**state, "conditions": kept}
        if not found or state != found[-1]:
            found.append(state)
    return found


def expanded(states: list[Object]) -> list[Object]:
    """Whole states of those that only say what is new in them."""
    found: list[Object] = []
    whole: Object = {}
    for news in states:
        if "gone" in news or "gone" in whole:
            whole = news
        else:
            dropped = news.get("-", [])
            whole = {key: value for key, value in {**whole, **news}.items() if key not in dropped and key != "-"}
        found.append(whole)
    return found


def _brief(state: Object) -> bool:
    """Not yet running, already ended but not yet put away, or told to go."""
    if "gone" in state:
        return False
    return bool(state["deleting"]) or (not _runs(state) and state["phase"] in ("Pending", "Running"))


def _runs(state: Object) -> bool:
    return any("running" in entry for entry in state["states"].values())
