"""How fast and how busy this machine is while something is measured on it.

CPU time grows when others share the cores: caches are cold, siblings of a core slow each other down, and each wake-up
finds one event instead of five. So every figure carries how many cores others used meanwhile, and what one plain GET
cost the bench itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from wfe_controller.api import names
from wfe_controller.kube.client.api import Api

TICKS = os.sysconf("SC_CLK_TCK")
GETS = 200


class Foreign:
    """Cores used by processes other than ours, on average since it was made."""

    def __init__(self, ours: Iterable[int]) -> None:
        self._ours = tuple(ours)
        self._busy, self._own, self._since = _busy(), self._used(), time.monotonic()

    def cores(self) -> float:
        busy, own = _busy() - self._busy, self._used() - self._own
        return round(max(0.0, busy - own) / max(time.monotonic() - self._since, 0.001), 2)

    def _used(self) -> float:
        return sum(map(_cpu, self._ours))


def _busy() -> float:
    """CPU seconds of everything since the machine started (user, nice, system, interrupts)."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return sum(int(fields[index]) for index in (1, 2, 3, 6, 7)) / TICKS


def _cpu(pid: int) -> float:
    """CPU seconds of one process; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


async def cost_of_a_get(api: Api, namespace: str) -> float:
    """CPU microseconds of the bench per small GET on a kept connection: the yardstick of this machine at this time."""
    for _ in range(20):
        await api.list_page(names.TARGETLOCKS, namespace, limit=1)
    before = time.process_time()
    for _ in range(GETS):
        await api.list_page(names.TARGETLOCKS, namespace, limit=1)
    return round((time.process_time() - before) / GETS * 1e6)
