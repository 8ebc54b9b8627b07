"""A channel whose every receiver gets every item, and that waits for none of them.

``tx, rx = broadcast.channel[int](16)``; the last 16 items are kept.  A receiver that falls further
behind is told how many it missed, once, and goes on with the oldest item kept.  The items are
shared, so they should not be changed.  Not thread-safe.

The capacity is kept exactly (tokio rounds it up to a power of two).
"""

import asyncio
from typing import Generic, Self, TypeVar

from service.channels.closing import Closing, warn_forgotten
from service.channels.lane import BUDGET
from service.channels.waiting import WaitSet
from service.errors import ChannelClosedError, ChannelEmptyError, LaggedError

T = TypeVar("T")


class _Ring(Generic[T]):
    """The last ``capacity`` items; ``tail`` is the number of items ever sent."""

    __slots__ = ("capacity", "changed", "items", "receivers", "senders", "tail")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.items: list[T] = []
        self.tail = 0
        self.senders = 0
        self.receivers = 0
        self.changed = WaitSet()

    def append(self, item: T) -> None:
        if len(self.items) < self.capacity:
            self.items.append(item)
        else:
            self.items[self.tail % self.capacity] = item
        self.tail += 1


class Sender(Closing, Generic[T]):
    """Sends to every receiver at once; clone it to send from several places."""

    __slots__ = ("_closed", "_ring")

    def __init__(self, ring: _Ring[T]) -> None:
        ring.senders += 1
        self._ring = ring
        self._closed = False

    def send(self, item: T) -> int:
        """Send ``item`` to every receiver of this moment and return how many there are.

        Raises:
            ChannelClosedError: If there is no receiver or this sender is closed; carries ``item``.
        """
        ring = self._ring
        if self._closed or not ring.receivers:
            raise ChannelClosedError(item)
        ring.append(item)
        ring.changed.wake_all()
        return ring.receivers

    def subscribe(self) -> "Receiver[T]":
        """A new receiver, for items sent from now on."""
        return Receiver(self._ring)

    def clone(self) -> "Sender[T]":
        """Another sender of the same channel, to be closed on its own.

        Raises:
            ChannelClosedError: If this sender is closed.
        """
        if self._closed:
            raise ChannelClosedError
        return Sender(self._ring)

    @property
    def receiver_count(self) -> int:
        """Living receivers."""
        return self._ring.receivers

    def close(self) -> None:
        """Close this sender only; the channel ends with its last one.  Idempotent."""
        if not self._closed:
            self._closed = True
            self._ring.senders -= 1
            self._ring.changed.wake_all()

    _end = close

    def __del__(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._ring.senders -= 1
        self._ring.changed.wake_all_from_anywhere()
        if self._ring.receivers:
            warn_forgotten(self)


class Receiver(Closing, Generic[T]):
    """Receives every item sent since it was made, or is told how many it missed.

    ``async for`` raises :class:`~service.errors.LaggedError` like :meth:`recv`, and a new
    ``async for`` goes on from there.
    """

    __slots__ = ("_closed", "_next", "_ring", "_turn")

    def __init__(self, ring: _Ring[T]) -> None:
        ring.receivers += 1
        self._ring = ring
        self._next = ring.tail
        self._turn = BUDGET
        self._closed = False

    async def recv(self) -> T:
        """Receive the next item, waiting for one.

        Cancel safety: a cancelled call has taken nothing.

        Raises:
            LaggedError: If items were missed; the next call receives the oldest one kept.
            ChannelClosedError: If every sender is gone and everything was received, or this
                receiver is closed.
        """
        while True:
            if self._turn <= 0:
                self._turn = BUDGET
                await asyncio.sleep(0)
            try:
                item = self.try_recv()
            except ChannelEmptyError:
                self._turn = BUDGET
                await self._ring.changed.wait()
            else:
                self._turn -= 1
                return item

    async def recv_many(self, buffer: list[T], limit: int) -> int:
        """Append up to ``limit`` items to ``buffer``, waiting for the first one only.

        0 with a ``limit`` above 0 means that the channel has ended; a ``limit`` of 0 returns 0 at
        once.

        Cancel safety: a cancelled call has taken nothing.

        Raises:
            ValueError: If ``limit`` is negative.
            LaggedError: If items were missed; the next call receives the oldest ones kept.
        """
        if limit < 0:
            raise ValueError(f"limit must not be negative: {limit}")
        if limit == 0:
            return 0
        try:
            buffer.append(await self.recv())
        except ChannelClosedError:
            return 0
        ring = self._ring
        end = min(ring.tail, self._next + limit - 1)
        buffer.extend(ring.items[number % ring.capacity] for number in range(self._next, end))
        taken = 1 + end - self._next
        self._next = end
        return taken

    def try_recv(self) -> T:
        """Receive the next item if there is one.

        Raises:
            LaggedError: As :meth:`recv`.
            ChannelEmptyError: If there is none, but one may still come.
            ChannelClosedError: As :meth:`recv`.
        """
        ring = self._ring
        if self._closed:
            raise ChannelClosedError
        if self._next == ring.tail:
            if ring.senders:
                raise ChannelEmptyError
            raise ChannelClosedError
        missed = ring.tail - self._next - ring.capacity
        if missed > 0:
            self._next += missed
            raise LaggedError(missed)
        item = ring.items[self._next % ring.capacity]
        self._next += 1
        return item

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.recv()
        except ChannelClosedError:
            raise StopAsyncIteration from None

    def __len__(self) -> int:
        """Items that are kept and not yet received."""
        return min(self._ring.tail - self._next, self._ring.capacity)

    def __bool__(self) -> bool:
        return True  # a receiver that is up to date is not a missing one

    def resubscribe(self) -> "Receiver[T]":
        """A new receiver, for items sent from now on."""
        return Receiver(self._ring)

    def close(self) -> None:
        """Stop receiving.  Idempotent."""
        if not self._closed:
            self._closed = True
            self._ring.receivers -= 1
            self._ring.changed.wake_all()

    _end = close

    def __del__(self) -> None:
        # Quietly: that is the ordinary way to lose interest.
        if not self._closed:
            self._closed = True
            self._ring.receivers -= 1


class channel(tuple[Sender[T], Receiver[T]]):  # noqa: N801 -- called like a function
    """A broadcast channel that keeps the last ``capacity`` items.

    >>> tx, first = channel[str](2)
    >>> second = tx.subscribe()
    >>> tx.send("a")
    2
    >>> first.try_recv(), second.try_recv()
    ('a', 'a')
    >>> tx.close()

    Raises:
        ValueError: If ``capacity`` is less than 1.
    """

    __slots__ = ()

    def __new__(cls, capacity: int) -> Self:
        """Return a sender and a first receiver."""
        if capacity < 1:
            raise ValueError(f"a channel needs at least one slot, not {capacity}")
        ring: _Ring[T] = _Ring(capacity)
        return super().__new__(cls, (Sender(ring), Receiver(ring)))
