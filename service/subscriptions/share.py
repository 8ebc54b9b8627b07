"""A bound on how much of the event loop's time something may take.

The pipelines run on the same loop as the dashboards.  Whoever works for dashboards says how much
processor time a piece of work took, and is told to stay away for a multiple of that: a small one
while the loop has little else to do, a large one while the pipelines keep it busy.

Processor time, not time on the clock: on a machine that is short of processors a piece of work
seems long because others were let in between, and waiting in proportion to that would make
dashboards the slower the less they get done.
"""

import asyncio
import time
from collections.abc import Callable


class LoopShare:
    """At most ``share`` of the loop's time for all callers together while the loop is busy.

    Args:
        share: What is left to the callers on a loop that is busy otherwise; above 0, up to 1.
        idle_share: What they may take of a loop without any other work; not below ``share``.
        cpu_clock: Processor seconds of the loop's thread so far.
    """

    def __init__(
        self,
        share: float,
        *,
        idle_share: float | None = None,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self.cpu_clock = cpu_clock
        self._busy_ratio = 1 / share - 1
        self._idle_ratio = 1 / (share if idle_share is None else idle_share) - 1
        self._free_at_s = 0.0
        self._looked_at_s = 0.0
        self._looked_cpu_s = cpu_clock()
        self._own_s = 0.0
        self._others = 0.0

    async def used(self, work_s: float) -> None:
        """Wait until ``work_s`` processor seconds of work are paid for.  Always yields once."""
        now_s = asyncio.get_running_loop().time()
        self._own_s += work_s
        self._look(now_s)
        ratio = self._idle_ratio + self._others * (self._busy_ratio - self._idle_ratio)
        self._free_at_s = max(self._free_at_s, now_s) + work_s * ratio
        await asyncio.sleep(self._free_at_s - now_s)

    def _look(self, now_s: float) -> None:
        """See what part of the time since the last look the loop worked for somebody else."""
        elapsed_s = now_s - self._looked_at_s
        if elapsed_s < _LOOK_INTERVAL_S:
            return
        cpu_s = self.cpu_clock()
        others = (cpu_s - self._looked_cpu_s - self._own_s) / elapsed_s
        self._others = min(1.0, max(0.0, others))
        self._looked_at_s, self._looked_cpu_s, self._own_s = now_s, cpu_s, 0.0


_LOOK_INTERVAL_S = 0.05
"""Shortest stretch of time that says how busy the loop is."""
