"""The one end of a channel that takes items out."""

import asyncio
from typing import Self, TypeVar

from service.channels.blocking import run_on_loop
from service.channels.closing import Closing, end_forgotten, warn_forgotten
from service.channels.core import Core
from service.channels.facts import Facts
from service.channels.lane import BUDGET
from service.errors import ChannelBusyError, ChannelClosedError, ChannelEmptyError

T = TypeVar("T")


class Receiver(Facts[T], Closing):
    """Takes items in the order in which they were sent; ``async for`` ends with the channel.

    The channel has ended for the receiver when no item is buffered and none can come any more:
    every sender is gone, or :meth:`close` was called, and no permit is out.

    One task receives at a time.  Leaving the context manager, or :meth:`aclose`, drops the
    receiver, which destroys what is buffered; call :meth:`close` first and receive to the end for
    a clean drain.

    Not thread-safe, except for the ``blocking_*`` methods, which are for other threads only.
    """

    # `_turn` counts down the ready operations until others may run.  It is 0 while a task waits,
    # which sends every other one to where that is noticed.
    __slots__ = ("_busy", "_lane", "_turn")

    def __init__(self, core: Core[T]) -> None:
        super().__init__(core)
        self._lane = core.lane
        self._turn = BUDGET
        self._busy = False

    # -- receiving -------------------------------------------------------------------------

    async def recv(self) -> T:
        """Receive the next item, waiting for one.

        Cancel safety: a cancelled ``recv`` has taken nothing.

        Raises:
            ChannelClosedError: If the channel has ended.
            ChannelBusyError: If another task is waiting on this receiver.
        """
        lane = self._lane
        takes = lane.takes
        if takes:
            lane.takes = takes - 1
            return lane.buffer.popleft()
        if (self._turn > 0 and lane.buffer) or await self._ready():
            return self._take()
        raise ChannelClosedError

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        # a copy of `recv`: one coroutine less per item
        lane = self._lane
        takes = lane.takes
        if takes:
            lane.takes = takes - 1
            return lane.buffer.popleft()
        if (self._turn > 0 and lane.buffer) or await self._ready():
            return self._take()
        raise StopAsyncIteration

    async def recv_many(self, buffer: list[T], limit: int) -> int:
        """Append up to ``limit`` items to ``buffer`` and return how many.

        Waits for the first item only, then takes what is there.  0 with a ``limit`` above 0 means
        that the channel has ended; a ``limit`` of 0 returns 0 at once.  The slots are freed
        together, so every sender that now fits is woken.

        Cancel safety: a cancelled call has taken nothing.

        Raises:
            ValueError: If ``limit`` is negative.
            ChannelBusyError: If another task is waiting on this receiver.
        """
        if limit <= 0:
            if limit < 0:
                raise ValueError(f"limit must not be negative: {limit}")
            return 0
        if (self._turn > 0 and self._lane.buffer) or await self._ready():
            self._turn -= 1
            return self._core.take_many(buffer, limit)
        return 0

    async def recv_weighed(self, buffer: list[T], slots: int, size_bytes: int) -> int:
        """:meth:`recv_many`, bounded by what the items weigh: small ones come together.

        Takes one item, whatever it weighs, and those behind it that take no more than ``slots``
        slots and ``size_bytes`` bytes with it, as the channel's ``items_of`` and ``bytes_of`` tell.

        Cancel safety: a cancelled call has taken nothing.

        Raises:
            ValueError: If ``slots`` is less than 1.
            ChannelBusyError: If another task is waiting on this receiver.
        """
        if slots < 1:
            raise ValueError(f"slots must be at least 1: {slots}")
        if (self._turn > 0 and self._lane.buffer) or await self._ready():
            self._turn -= 1
            return self._core.take_weighed(buffer, slots, size_bytes)
        return 0

    def try_recv(self) -> T:
        """Receive an item if one is buffered.

        Raises:
            ChannelEmptyError: If none is, but one may still come (a permit may be out even after
                ``close``).
            ChannelClosedError: If the channel has ended.
            ChannelBusyError: If another task is waiting on this receiver.
        """
        if self._busy:
            raise ChannelBusyError
        if self._lane.buffer:
            return self._core.take()
        if self._core.finished:
            raise ChannelClosedError
        raise ChannelEmptyError

    def blocking_recv(self) -> T:
        """:meth:`recv` for a thread without an event loop; blocks the thread.

        Raises:
            RuntimeError: If this thread runs an event loop, or the channel's loop is not running.
            ChannelClosedError: If the channel has ended.
            ChannelBusyError: If another task is waiting on this receiver.
        """
        return run_on_loop(self._core.loop, self.recv)

    def blocking_recv_many(self, buffer: list[T], limit: int) -> int:
        """:meth:`recv_many` for a thread without an event loop; blocks the thread.

        Raises:
            RuntimeError: If this thread runs an event loop, or the channel's loop is not running.
            ValueError: If ``limit`` is negative.
            ChannelBusyError: If another task is waiting on this receiver.
        """
        return run_on_loop(self._core.loop, self.recv_many, buffer, limit)

    # -- ending ----------------------------------------------------------------------------

    def close(self) -> None:
        """Refuse new items; what is buffered, or sent through permits, can still be received.

        Senders waiting in line fail now.  Idempotent.
        """
        self._core.close()

    def drop(self) -> None:
        """Close, and destroy what is buffered now and what permits still send.  Idempotent."""
        if not self._core.dropped:
            self._core.drop()

    _end = drop

    def __del__(self) -> None:
        core = self._core
        if not core.finished and (core.senders > 0 or core.buffer):
            end_forgotten(core.loop, core.drop)
            warn_forgotten(self)

    # -- facts -----------------------------------------------------------------------------

    def __len__(self) -> int:
        """Items buffered."""
        return len(self._lane.buffer)

    def __bool__(self) -> bool:
        return True  # an empty receiver is not a missing one

    @property
    def is_closed(self) -> bool:
        """Whether it was closed or dropped, or every sender is gone; items may still be there."""
        return self._core.slots.closed or self._core.senders == 0

    @property
    def is_finished(self) -> bool:
        """Whether the channel has ended: nothing is buffered and nothing can come any more."""
        return self._core.finished

    # -- inner -----------------------------------------------------------------------------

    def _take(self) -> T:
        item = self._core.take()
        self._turn -= 1
        self._turn -= self._core.open_takes(self._turn)
        return item

    async def _ready(self) -> bool:
        """Wait until an item is buffered; False if none ever will be."""
        if self._busy:
            raise ChannelBusyError
        core = self._core
        self._busy = True
        self._turn = 0
        try:
            if core.buffer:  # the budget is spent
                await asyncio.sleep(0)
            while not core.buffer:
                if core.finished:
                    return False
                core.shut_puts()  # so that the next one wakes this task
                core.receiver = asyncio.get_running_loop().create_future()
                try:
                    await core.receiver
                finally:
                    core.receiver = None
        finally:
            self._busy = False
            self._turn = BUDGET
        return True
