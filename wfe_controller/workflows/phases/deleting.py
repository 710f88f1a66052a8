"""Deletion of an object that has not ended (SPEC 2.5). An ended one goes through ``terminal``."""

from __future__ import annotations

from wfe_controller.api.phases import Phase
from wfe_controller.api.targets import TargetError
from wfe_controller.kube.control.outcomes import Done, RequeueAfter
from wfe_controller.locking.record import LockUnreadable
from wfe_controller.workflows.engines.tekton import follow, launch
from wfe_controller.workflows.phases.terminal import deletion_note
from wfe_controller.workflows.plan import Act, Input, Read, RemoveFinalizer, Step, Stop
from wfe_controller.workflows.snapshot import Snapshot, Unread


def deleting(snapshot: Snapshot) -> Step:
    """Cancel what runs, release what is held, let go. Without our finalizer nothing was ever owned.

    Unless somebody took it off a running object that finalizers of others keep: that one is followed to its end. So is
    one whose phase is not a word of its engine, when it named a run or holds its target: then the run and the pods say
    how far it got.
    """
    if snapshot.phase == Phase.RUNNING:
        return follow.follow(snapshot)
    if snapshot.run_uid:
        return follow.follow(snapshot.as_running())
    if not snapshot.has_finalizer:
        return Stop(Done())
    if isinstance(snapshot.target, TargetError):
        return Act(RemoveFinalizer(), deletion_note(snapshot))
    if isinstance(snapshot.inputs.lock, Unread):
        return Read(Input.LOCK)
    if isinstance(snapshot.inputs.lock, LockUnreadable):
        return Stop(RequeueAfter(30.0))
    if snapshot.astray and (snapshot.holds is True or snapshot.cached_run is not None):
        return follow.follow(snapshot.as_running())
    if snapshot.holds is True:
        return launch.launch(snapshot)
    if snapshot.cached_run is not None and isinstance(snapshot.inputs.named_run, Unread):
        return Read(Input.NAMED_RUN)
    if launch.is_mine(snapshot):
        return launch.launch(snapshot)
    return Act(RemoveFinalizer(), deletion_note(snapshot))
