"""Random kills while many executions want few targets.

Some fail and their blocks are cleared on the way, some are cancelled or deleted in whatever state they are.
"""

from __future__ import annotations

import contextlib
import random
import time

from hack.controlplane.client import Refused
from hack.crash.chronicle import ENDED, target_hash
from hack.crash.replicas import Late, Object, Site, Watcher, wait
from hack.crash.scene import API, Outcome, execution, phase_of
from hack.crash.work import bundle

TARGETS = 6
BEHAVIOURS = ("slow-0.5", "slow-1.5", "slow-0.5", "fail-3")


def play(
    site: Site, watcher: Watcher, executions: int, kills: int, seed: int, *, pause: float = 5.0, real: bool = False
) -> Outcome:
    """``kills`` SIGKILLs, the leader's in three of four cases, about ``pause`` seconds apart."""
    rng = random.Random(seed)
    outcome = Outcome(f"contest seed {seed}", "", "random", "kill")
    began = time.monotonic()
    client, where = site.plane.client, f"{API}/namespaces/{site.namespace}/workflowexecutions"
    locks = f"{API}/namespaces/{site.home}/targetlocks"
    bundles = [bundle(site.plane, behaviour, real=real) for behaviour in BEHAVIOURS]
    targets = [f"{site.namespace}/deployment/contested-{number}" for number in range(TARGETS)]
    ours = {target_hash(target) for target in targets}

    def clear_blocks() -> None:
        for lock in client.get(locks)["items"]:
            block = lock.get("status", {}).get("block")
            annotations = lock["metadata"].get("annotations") or {}
            if not block or annotations.get("kubernaut.ai/clear-block") == block["by"]["uid"]:
                continue
            wanted = {"": block["by"]["uid"], "-by": "nobody", "-reason": "seen by the crash suite"}
            named = {f"kubernaut.ai/clear-block{key}": value for key, value in wanted.items()}
            with contextlib.suppress(Refused):  # it went meanwhile
                client.merge_patch(f"{locks}/{lock['metadata']['name']}", {"metadata": {"annotations": named}})

    def meddle() -> None:
        """One of those that have not ended is cancelled or deleted, every sixth time."""
        undecided = [o["metadata"]["name"] for o in client.get(where)["items"] if phase_of(o) not in ENDED]
        chance = rng.random()
        if not undecided or chance > 1 / 6:
            return
        path = f"{where}/{rng.choice(undecided)}"
        with contextlib.suppress(Refused):  # it ended meanwhile
            if chance > 1 / 12:
                client.merge_patch(path, {"metadata": {"annotations": {"kubernaut.ai/cancel": "crash test"}}})
            else:
                client.delete(path)

    def resting() -> bool:
        clear_blocks()
        objects: list[Object] = client.get(where)["items"]
        if any(phase_of(o) not in ENDED or o["metadata"].get("finalizers") for o in objects):
            return False
        mine = [lock["status"] for lock in client.get(locks)["items"] if lock["metadata"]["name"][4:] in ours]
        return not any("holder" in status or "block" in status for status in mine)

    site.start()
    created = 0
    try:
        for number in range(kills):
            due = -(-executions * (number + 1) // kills)
            while created < due:
                # Two or three at a time on one target, so that they contend.
                target = targets[rng.randrange(TARGETS)]
                for _ in range(min(rng.choice((2, 3)), executions - created)):
                    body = execution(
                        site.namespace, f"c{created}", target, rng.choice(bundles), f"workflow-{rng.randrange(3)}"
                    )
                    client.create(where, body)
                    created += 1
            time.sleep(rng.uniform(0.1, 2 * pause))
            clear_blocks()
            meddle()
            leader = site.leader() if rng.random() < 0.75 else ""
            site.kill(leader or rng.choice(site.replicas))
            outcome.hits += 1
        wait(resting, 180.0, "everything to be at rest")
    except Late as late:
        outcome.wrong.append(str(late))
    finally:
        site.stop()
    outcome.wrong += site.complaints()
    answer = watcher.ask(targets=targets)
    outcome.wrong += answer["blind"]
    for target, findings in answer["findings"].items():
        outcome.wrong += [f"{target}: {what}" for what in findings["wrong"]]
        outcome.ended |= findings["ended"]
        outcome.contended += findings["contended"]
    if not outcome.contended:
        outcome.wrong.append("no contention was seen")
    if len(outcome.ended) != executions:
        outcome.wrong.append(f"{executions} were created, the observer saw {len(outcome.ended)} end")
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome
