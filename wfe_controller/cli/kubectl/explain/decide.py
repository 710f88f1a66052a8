"""``explain``: the facts around one execution in, one answer out. Pure and total.

Order: whether anybody works at all, then deletion, then the phase. Neighbours: waiting, running and ended hold the
situations; gather reads the facts, text shows the answer.
"""

from __future__ import annotations

from wfe_controller.api.names import FINALIZER
from wfe_controller.api.phases import Phase
from wfe_controller.cli.kubectl.explain import ended, running, waiting
from wfe_controller.cli.kubectl.explain.facts import Facts, Leader
from wfe_controller.cli.kubectl.explain.model import Explanation
from wfe_controller.kube.objects import finalizers_of, is_deleting


def explain(facts: Facts) -> Explanation:
    """What is it doing, since when, what does it wait for, who has the target, why did it fail, and what now."""
    if facts.wfe is None:
        return ended.gone(facts)
    ours = FINALIZER in finalizers_of(facts.wfe)
    needs_us = not facts.ended or (is_deleting(facts.wfe) and ours)
    if is_deleting(facts.wfe) and not ours and finalizers_of(facts.wfe):
        return waiting.deleting(facts)
    if needs_us and facts.leader in (Leader.NONE, Leader.SILENT):
        return waiting.nobody_leads(facts)
    if is_deleting(facts.wfe) and ours:
        return waiting.deleting(facts)
    if facts.ended:
        return ended.ended(facts)
    if not facts.phase:
        return waiting.unseen(facts)
    if facts.phase == Phase.RUNNING:
        return running.running(facts)
    return waiting.pending(facts)
