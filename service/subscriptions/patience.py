"""How long reading waits for the passes to catch up with a burst."""

import asyncio
import contextlib

PATIENCE_S = 1.0
"""Longest that it waits.  What comes faster than the passes can write is dropped from then on, and
the clients stay in the present."""

_REGAINED_SHARE = 0.1
"""What of that is regained in the time that passes."""


class Patience:
    """Time that may be spent waiting, which is regained little by little."""

    def __init__(self) -> None:
        self._spent_s = 0.0
        self._spent_at_s = 0.0

    async def wait_for(self, event: asyncio.Event) -> None:
        """Wait for ``event``, unless patience ends before."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        regained_s = (began_s - self._spent_at_s) * _REGAINED_SHARE
        spent_s = max(0.0, self._spent_s - regained_s)
        if spent_s < PATIENCE_S:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S - spent_s):
                    await event.wait()
        self._spent_at_s = loop.time()
        self._spent_s = spent_s + self._spent_at_s - began_s
