"""Permits that are handed out first come, first served, and never overtaken.

Pure bookkeeping plus one future per waiting task: it knows nothing of items, buffers or senders.
Not thread-safe; every call comes from the one event loop.
"""

import asyncio
from collections import OrderedDict

from service.errors import ChannelClosedError


class _Waiter:
    """One queued request; what it already got is held for it while it waits for the rest."""

    __slots__ = ("future", "granted", "missing")

    def __init__(self, missing: int) -> None:
        self.future = asyncio.get_running_loop().create_future()
        self.granted = 0
        self.missing = missing

    def wake(self) -> None:
        # Already done means cancelled in this very turn: the task passes its permits on itself.
        if not self.future.done():
            self.future.set_result(None)


class Semaphore:
    """A fair counting semaphore: released permits go to the queue before anyone can see them.

    The head of the queue collects permits until it has all it asked for, so a large request is
    never starved by small ones behind it.

    Args:
        capacity: Permits in all; at least 0.

    Attributes:
        capacity: As given.
        free: Permits that are neither held nor promised to the queue.
        least_free: The lowest ``free`` ever was.
        closed: Whether requests fail.
        waiting_peak: Most requests that were ever queued at once.
    """

    __slots__ = ("_waiters", "capacity", "closed", "free", "least_free", "waiting_peak")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.free = capacity
        self.least_free = capacity
        self.closed = False
        self.waiting_peak = 0
        # not a deque: a cancelled waiter leaves from the middle in O(1)
        self._waiters: OrderedDict[_Waiter, None] = OrderedDict()

    @property
    def idle(self) -> bool:
        """Whether every permit is back."""
        return self.free == self.capacity

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiters)

    def try_acquire(self, count: int) -> bool:
        """Take ``count`` permits if they are free; False if not."""
        # No look at the queue: while somebody waits, its head has taken all there was.
        left = self.free - count
        if left < 0 or self.closed:
            return False
        self.free = left
        self.least_free = min(self.least_free, left)
        return True

    async def acquire(self, count: int) -> None:
        """Take ``count`` permits (at most ``capacity``), waiting in line for them if need be.

        Cancel safety and errors: as :meth:`wait`.
        """
        if not self.try_acquire(count):
            await self.wait(count)

    async def wait(self, count: int) -> None:
        """Take ``count`` permits (at most ``capacity``), going to the end of the line for them.

        Cancel safety: a cancelled call holds nothing; its place in the line is lost and what it
        had collected goes to the next in line.

        Raises:
            ChannelClosedError: If the semaphore is closed before the permits are complete, or
                after that but before this task ran again.
        """
        self.refuse_if_closed()
        waiter = _Waiter(count)
        waiters = self._waiters
        waiters[waiter] = None
        self.waiting_peak = max(self.waiting_peak, len(waiters))
        if self.free:
            self._grant()
        try:
            await waiter.future
        except BaseException:
            waiters.pop(waiter, None)
            self.release(waiter.granted)
            raise
        if self.closed:
            self.release(waiter.granted)
            self.refuse_if_closed()

    def release(self, count: int) -> None:
        """Give ``count`` permits back: to the queue first."""
        self.free += count
        if self._waiters:
            self._grant()

    def close(self) -> None:
        """Fail every queued request and every later one; permits still out may come back."""
        self.closed = True
        while self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            self.free += waiter.granted
            waiter.granted = 0
            waiter.wake()

    def refuse_if_closed(self) -> None:
        """Raise ``ChannelClosedError`` if the semaphore is closed."""
        if self.closed:
            raise ChannelClosedError

    def _grant(self) -> None:
        waiters = self._waiters
        while waiters and self.free > 0:
            waiter = next(iter(waiters))
            given = min(self.free, waiter.missing)
            self.free -= given
            waiter.granted += given
            waiter.missing -= given
            if waiter.missing:
                break
            del waiters[waiter]
            waiter.wake()
        self.least_free = min(self.least_free, self.free)
