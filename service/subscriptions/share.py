"""A bound on how much of the event loop's time something may take.

The pipelines run on the same loop as the dashboards.  Whoever works for dashboards says how long
a piece of work took, and is told to stay away for a multiple of that.
"""

import asyncio


class LoopShare:
    """At most ``share`` of the loop's time for all callers together.

    Args:
        share: Above 0, up to 1.
    """

    def __init__(self, share: float) -> None:
        self._pause_ratio = 1 / share - 1
        self._free_at_s = 0.0

    async def used(self, work_s: float) -> None:
        """Wait until ``work_s`` seconds of work are paid for.  Always yields once."""
        now_s = asyncio.get_running_loop().time()
        self._free_at_s = max(self._free_at_s, now_s) + work_s * self._pause_ratio
        await asyncio.sleep(self._free_at_s - now_s)
