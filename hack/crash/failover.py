"""With the default leases (15/10/2 s): how long nobody works after a crash, and after a clean exit (SPEC 11)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from hack.controlplane import Plane
from hack.crash.replicas import SETTINGS, Late, Site, wait
from hack.crash.scene import API, Outcome, execution
from hack.crash.work import bundle

LIMITS = {"crash": 20.0, "clean exit": 3.0}


def measure(plane: Plane, *, real: bool = False) -> Iterator[Outcome]:
    """From the end of the leader to the PipelineRun of an execution that was created just then."""
    settings: Mapping[str, Mapping[str, Any]] = {
        **SETTINGS,
        "controller": {"leaseDuration": "15s", "renewDeadline": "10s", "retryPeriod": "2s"},
    }
    site = Site(plane, "failover", settings).start()
    reference = bundle(plane, "slow-0.3", real=real)
    try:
        for number, (how, limit) in enumerate(LIMITS.items()):
            yield _one(site, reference, how, limit, number)
    finally:
        site.stop()


def _one(site: Site, reference: str, how: str, limit: float, number: int) -> Outcome:
    outcome = Outcome("failover 15/10/2", "", how, "kill" if how == "crash" else "term")
    client, target = site.plane.client, f"{site.namespace}/deployment/failover-{number}"
    where = f"{API}/namespaces/{site.namespace}/workflowexecutions"
    try:
        site.await_ready()
        leader = wait(site.leader, 30.0, "a leader")
        began = time.monotonic()
        if how == "crash":
            site.kill(leader)
        else:
            site.terminate(leader)
        client.create(where, execution(site.namespace, f"f{number}", target, reference, "failover"))
        wait(lambda: client.get(f"{where}/f{number}").get("status", {}).get("pipelineRunRef"), 60.0, "its run")
        outcome.seconds, outcome.hits = round(time.monotonic() - began, 1), 1
        if outcome.seconds > limit:
            outcome.wrong.append(f"took {outcome.seconds} s, at most {limit:g} s are promised")
        wait(lambda: client.get(f"{where}/f{number}")["status"].get("phase") == "Completed", 60.0, "its end")
        outcome.ended = {f"f{number}": "Completed"}
    except Late as late:
        outcome.wrong.append(str(late))
    return outcome
