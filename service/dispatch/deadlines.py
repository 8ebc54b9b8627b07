"""Deadlines for many calls at once, for the price of a dictionary entry each.

``asyncio.timeout`` arms a timer per call, which costs more than a fast handler.  Here one timer
per handler looks at all running calls and cancels those that are over time, so a deadline is
late by at most :data:`RESOLUTION` of the timeout.  A call that swallows its cancellation is
cancelled again at every look.
"""

import asyncio
from typing import Any, Final, Generic, Protocol, TypeVar

from service.streams import cancelled_by_others

RESOLUTION: Final = 0.1
"""Share of the timeout between two looks."""


class Timed(Protocol):
    """A call that runs in a task and may be cancelled for taking too long."""

    task: "asyncio.Task[Any] | None"


TimedT = TypeVar("TimedT", bound=Timed)


class Deadlines(Generic[TimedT]):
    """Cancels the task of a call that runs longer than ``timeout_s``.

    Args:
        timeout_s: Longest call, in seconds.

    Attributes:
        running: Deadline of each running call (``loop.time()``).
    """

    def __init__(self, timeout_s: float) -> None:
        self.change(timeout_s)
        self.running: dict[TimedT, float] = {}
        self._expired: dict[TimedT, int] = {}  # how often each was cancelled
        self._timer: asyncio.TimerHandle | None = None

    def change(self, timeout_s: float) -> None:
        """Take another timeout for calls that begin from now on."""
        self.timeout_s = timeout_s
        self._interval_s = max(0.001, timeout_s * RESOLUTION)

    def enter(self, call: TimedT, loop: asyncio.AbstractEventLoop, now_s: float) -> None:
        """``call`` begins in the current task; :meth:`leave` must follow."""
        call.task = asyncio.current_task(loop)
        self.running[call] = now_s + self.timeout_s
        if self._timer is None:
            self._timer = loop.call_later(self._interval_s, self._look, loop)

    def timed_out(self, call: TimedT) -> bool:
        """Whether the cancellation that ``call`` has just got is ours, and of no third one too."""
        return call in self._expired and self._taken_back(call) == 0

    def leave(self, call: TimedT) -> None:
        """``call`` has ended, whichever way."""
        del self.running[call]
        if call in self._expired:
            self._taken_back(call)
            del self._expired[call]

    def _taken_back(self, call: TimedT) -> int:
        """Take our cancellations of ``call`` back; returns how many others asked for.

        Those that the call itself has asked for are nobody's wish to end it from outside.
        """
        task = call.task
        if task is None:
            return 0
        for _ in range(self._expired[call]):
            task.uncancel()
        self._expired[call] = 0
        return cancelled_by_others(task)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        for call, deadline_s in self.running.items():
            if deadline_s <= now_s and call.task is not None:
                self._expired[call] = self._expired.get(call, 0) + 1
                call.task.cancel()
        self._timer = None
        if self.running:
            self._timer = loop.call_later(self._interval_s, self._look, loop)
