"""A bound on how much of the event loop's time something may take.

The pipelines run on the same loop as the dashboards.  Whoever works for dashboards says how much
processor time a piece of work took, and is told to stay away for a multiple of that: a small one
while the loop has little else to do, a large one while the pipelines keep it busy.

Processor time, not time on the clock: on a machine that is short of processors a piece of work
seems long because others were let in between, and waiting in proportion to that would make
dashboards the slower the less they get done.  For the same reason time in which the loop could
have run and no processor was free does not count as idle: pipelines that get half a processor and
would take a whole one keep the loop busy.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_SCHEDSTAT: Final = Path("/proc/thread-self/schedstat")


def starved_s() -> float:
    """Seconds for which this thread could have run and no processor was free.

    Linux counts them (``Documentation/scheduler/sched-stats``); 0 where nobody does.
    """
    try:
        with _SCHEDSTAT.open("rb", buffering=0) as counts:  # of the kernel's memory: no wait
            return int(counts.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


class LoopShare:
    """At most ``share`` of the loop's time for all callers together while the loop is busy.

    Args:
        share: What is left to the callers on a loop that is busy otherwise; above 0, up to 1.
        idle_share: What they may take of a loop without any other work; not below ``share``.
        cpu_clock: Processor seconds of the loop's thread so far.
        starved_clock: Seconds for which it had to wait for a processor so far.
    """

    def __init__(
        self,
        share: float,
        *,
        idle_share: float | None = None,
        cpu_clock: Callable[[], float] = time.thread_time,
        starved_clock: Callable[[], float] = starved_s,
    ) -> None:
        self.cpu_clock = cpu_clock
        self._starved_clock = starved_clock
        self._busy_ratio = 1 / share - 1
        self._idle_ratio = 1 / (share if idle_share is None else idle_share) - 1
        self._free_at_s = 0.0
        self._looked_at_s = 0.0
        self._looked_cpu_s = cpu_clock()
        self._looked_starved_s = starved_clock()
        self._own_s = 0.0
        self._others = 0.0

    async def used(self, work_s: float) -> None:
        """Wait until ``work_s`` processor seconds of work are paid for.  Always yields once.

        Little is paid for together with what follows: no timer is as fine as many small pieces.
        """
        now_s = asyncio.get_running_loop().time()
        self._own_s += work_s
        self._look(now_s)
        # squared: a loop that others fill by half has room, and its callers' own sends, which the
        # loop does after they have returned, are a part of what counts as others'
        ratio = self._idle_ratio + self._others**2 * (self._busy_ratio - self._idle_ratio)
        self._free_at_s = max(self._free_at_s, now_s) + work_s * ratio
        wait_s = self._free_at_s - now_s
        await asyncio.sleep(wait_s if wait_s > _CREDIT_S else 0)

    def _look(self, now_s: float) -> None:
        """See what part of the time since the last look the loop worked for somebody else."""
        elapsed_s = now_s - self._looked_at_s
        if elapsed_s < _LOOK_INTERVAL_S:
            return
        cpu_s, starved_s = self.cpu_clock(), self._starved_clock()
        others_s = cpu_s - self._looked_cpu_s - self._own_s
        # Of the time that the callers left: the more they take, the less there is for others to
        # fill.  The clocks tick apart, so that a little can be left of nothing.
        taken_s = self._own_s + starved_s - self._looked_starved_s
        free_s = max(elapsed_s - taken_s, _LOOK_INTERVAL_S / 10)
        self._others = min(1.0, max(0.0, others_s / free_s))
        self._looked_at_s, self._looked_cpu_s, self._own_s = now_s, cpu_s, 0.0
        self._looked_starved_s = starved_s


_CREDIT_S = 0.003
"""What need not be waited for yet."""

_LOOK_INTERVAL_S = 0.05
"""Shortest stretch of time that says how busy the loop is."""
