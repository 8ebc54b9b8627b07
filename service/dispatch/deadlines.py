"""Deadlines for many calls at once, for the price of a dictionary entry each.

``asyncio.timeout`` arms a timer per call, which costs more than a fast handler.  Here one timer
per handler looks at all running calls and cancels those that are over time, so a deadline is
late by at most :data:`RESOLUTION` of the timeout.  A call that swallows its cancellation is
cancelled again at every look.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

from service.errors import HandlerTimeoutError

RESOLUTION: Final = 0.1
"""Share of the timeout between two looks."""


class Deadlines:
    """Ends calls that run longer than ``timeout_s``.

    Args:
        timeout_s: Longest call, in seconds.
    """

    def __init__(self, timeout_s: float) -> None:
        self.change(timeout_s)
        self._running: dict[asyncio.Task[Any], float] = {}
        self._expired: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def change(self, timeout_s: float) -> None:
        """Take another timeout for calls that begin from now on."""
        self.timeout_s = timeout_s
        self._interval_s = max(0.001, timeout_s * RESOLUTION)

    async def run(self, call: Awaitable[Any]) -> Any:
        """Await ``call`` in the current task.

        Cancel safety: our own caller's cancellation passes through unchanged.

        Raises:
            HandlerTimeoutError: If it did not finish in time.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("not inside a task")
        loop = asyncio.get_running_loop()
        self._running[task] = loop.time() + self.timeout_s
        if self._timer is None:
            self._timer = loop.call_later(self._interval_s, self._look, loop)
        try:
            return await call
        except asyncio.CancelledError:
            if task in self._expired and task.uncancel() == 0:
                raise HandlerTimeoutError(f"no result within {self.timeout_s:g} s") from None
            raise
        finally:
            del self._running[task]
            if task in self._expired:
                self._expired.discard(task)
                while task.cancelling() and task.uncancel():
                    pass

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        for task, deadline_s in self._running.items():
            if deadline_s <= now_s:
                self._expired.add(task)
                task.cancel()
        self._timer = None
        if self._running:
            self._timer = loop.call_later(self._interval_s, self._look, loop)
