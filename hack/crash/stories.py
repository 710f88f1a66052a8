"""What is played at each failpoint: the wish, what people do meanwhile, and how it may end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hack.crash.scene import Scene

# moment, action: every way a write can go wrong.
TROUBLES = (
    ("before", "kill"),
    ("after", "kill"),
    ("after", "lose"),
    ("before", "stop"),
    ("sending", "stop"),
    ("sending", "hold"),
)

Act = Callable[["Scene"], None]
Condition = Callable[["Scene"], bool]


@dataclass(frozen=True)
class Story:
    """``behaviour``: of the pods. ``script``: pairs of a condition and an act, in order.

    ``at_hit``: done when the failpoint is hit. ``rested``: what must hold besides, before a play is over.
    ``only``: the points that are tried, as beginnings; empty = all that a quiet play goes through after the first act
    (all at all when nobody acts). ``winner``: how the executions that held the target may end, as phase/reason.
    ``successor``: the frozen replica wakes up while the run of a third execution, of this behaviour, acts under the
    same name.
    ``contends``: while one holds the target, another must have been undecided, or the play proves nothing.
    ``prepare``: before anything is wished. ``vanishes``: the record has nothing to say at the end and is deleted.
    """

    name: str
    behaviour: str
    winner: frozenset[str]
    script: tuple[tuple[Condition, Act], ...] = ()
    at_hit: Act | None = None
    only: tuple[str, ...] = ()
    prepare: Act | None = None
    vanishes: bool = False
    successor: str = ""
    rested: Condition = lambda scene: True
    contends: bool = True
    troubles: tuple[tuple[str, str], ...] = TROUBLES


def acting(scene: Scene) -> bool:
    """A container of the run is at work."""
    return scene.pod_running()


def blocked(scene: Scene) -> bool:
    return "block" in scene.lock_status()


def cancel(scene: Scene) -> None:
    for name in scene.undecided():
        scene.annotate(name, {"kubernaut.ai/cancel": "crash test", "kubernaut.ai/cancel-by": "nobody"})


def delete(scene: Scene) -> None:
    for name in scene.undecided():
        scene.delete(name)


def occupy(scene: Scene) -> None:
    scene.occupy()


def clear(scene: Scene) -> None:
    uid = scene.lock_status()["block"]["by"]["uid"]
    scene.annotate_lock(
        {
            "kubernaut.ai/clear-block": uid,
            "kubernaut.ai/clear-block-by": "nobody",
            "kubernaut.ai/clear-block-reason": "seen by the crash suite",
        }
    )


def cleared(scene: Scene) -> bool:
    """The block is gone, the request too, and the execution that caused it tells of it (BR-WE-013)."""
    return scene.clearance_told()


DONE = frozenset({"Completed"})
CANCELLED = frozenset({"Failed/Cancelled"})
LAUNCH = ("create-pipelineruns", "update-workflowexecutions-status-running", "patch-pipelineruns-start")

SUCCESS = Story("success", "slow-0.3", DONE)
SUCCESSOR = Story(
    "successor acts", "slow-0.3", DONE, successor="slow-6", troubles=(("sending", "stop"), ("before", "stop"))
)
CANCEL = Story("cancel", "hang", CANCELLED, ((acting, cancel),))
DELETE = Story("delete", "hang", CANCELLED | {"gone"}, ((acting, delete),))
CLEAR = Story(
    "clear",
    "fail-3",
    frozenset({"Failed/TaskFailed"}),
    ((blocked, clear),),
    rested=cleared,
)
FAILURE = Story(
    "failure",
    "fail-3",
    frozenset({"Failed/TaskFailed"}),
    ((blocked, clear),),
    rested=cleared,
    only=("update-workflowexecutions-status-failed", "update-targetlocks-status-settle"),
)
CANCEL_EARLY = Story("cancel at the point", "slow-0.3", DONE | CANCELLED, at_hit=cancel, contends=False, only=LAUNCH)
DELETE_EARLY = Story(
    "delete at the point", "slow-0.3", DONE | CANCELLED | {"gone"}, at_hit=delete, contends=False, only=LAUNCH
)
DROP = Story(
    "name taken",
    "slow-0.3",
    frozenset({"Skipped/ResourceBusy"}),
    prepare=occupy,
    only=("update-targetlocks-status-drop", "delete-targetlocks", "patch-targetlocks-finalizer-off"),
    vanishes=True,
    contends=False,
)
STORIES: tuple[Story, ...] = (SUCCESS, SUCCESSOR, FAILURE, CANCEL, DELETE, CLEAR, CANCEL_EARLY, DELETE_EARLY, DROP)

HOLD_SECONDS = 5.0
"""Longer than a lease: whoever holds a request back so long has been succeeded, or has tried again."""
BEHAVIOURS = frozenset({word for story in STORIES for word in (story.behaviour, story.successor) if word})
