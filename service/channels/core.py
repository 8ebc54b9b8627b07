"""The state that both ends of one multi-producer, single-consumer channel share.

A core puts, takes, drops, counts, and wakes whoever waits.  It knows nothing of handles, permit
objects or threads, and it never lets a task wait for an item: that is the receiver's business.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from typing import TypeVar

from service.channels.blocking import running_loop
from service.channels.lane import BUDGET
from service.channels.lane_keeper import LaneKeeper
from service.channels.overflow import Overflow
from service.channels.statistics import ChannelStatistics
from service.errors import ChannelClosedError, ChannelFullError

T = TypeVar("T")

UNBOUNDED = 2**62
"""Slots of an unbounded channel: more items than any memory holds."""


class Core(LaneKeeper[T]):
    """A first-in, first-out buffer in which every item takes one slot.

    Args:
        capacity: Slots in all.
        overflow: What to do with an item that finds no slot.

    Attributes:
        loop: Where the channel lives; None if it was made outside of any loop.
        senders: Living senders, owned permits included.
        weak_senders: Living weak senders.
        dropped: Whether the receiver is gone, and not only closed.
    """

    __slots__ = (
        "_closed_event",
        "_conflated",
        "_destroyed",
        "_dropped_newest",
        "_dropped_oldest",
        "_rejected",
        "_sharing",
        "dropped",
        "loop",
        "overflow",
        "senders",
        "weak_senders",
    )

    def __init__(self, capacity: int, overflow: Overflow = Overflow.WAIT) -> None:
        super().__init__(capacity)
        self.overflow = overflow
        self.loop = running_loop()
        self.senders = 0
        self.weak_senders = 0
        self.dropped = False
        self._rejected = 0
        self._dropped_newest = 0
        self._dropped_oldest = 0
        self._conflated = 0
        self._destroyed = 0
        self._sharing = 0  # puts that let others run first
        self._closed_event: asyncio.Event | None = None

    # -- putting ---------------------------------------------------------------------------

    async def share_the_loop(self) -> None:
        """Let other tasks run: senders have put enough in a row without waiting.

        Who is about to put keeps the channel open meanwhile, as who stands in line does.
        """
        self.put_turn = BUDGET
        self._sharing += 1
        try:
            await asyncio.sleep(0)
        finally:
            self._sharing -= 1
            self.wake_if_finished()

    def offer(self, item: T) -> bool:
        """Deal with ``item`` without waiting; False if its sender has to wait for a slot.

        Raises:
            ChannelClosedError: If the receiver is closed.
            ChannelFullError: If there is no slot and the policy is to reject.
        """
        if self.slots.closed:
            raise ChannelClosedError(item)
        self.shut_puts()
        if self.try_put(item):
            self.put_turn -= 1
            self.open_puts()
            return True
        return self._overflow(item)

    def offer_some(self, items: Sequence[T], start: int) -> int:
        """Put as many of ``items`` from ``start`` on as there is room for; return how many.

        Raises:
            ChannelClosedError: If the receiver is closed.
            ChannelFullError: If there is no slot and the policy is to reject.
        """
        if self.slots.closed:
            raise ChannelClosedError
        self.shut_puts()
        count = min(self.slots.free, len(items) - start)
        if count <= 0:
            return int(self.offer(items[start]))
        part = items if count == len(items) else items[start : start + count]
        self.slots.try_acquire(count)
        self.buffer.extend(part)
        self.put_turn -= 1
        if self.receiver is not None:
            self.wake_receiver()
        return count

    def try_put(self, item: T) -> bool:
        """Append ``item`` if there is room and nobody waits for it."""
        if not self.slots.try_acquire(1):
            return False
        self.push(item)
        return True

    async def put(self, item: T) -> None:
        """Append ``item``, going to the end of the line for a slot; :meth:`offer` just failed.

        Raises:
            ChannelClosedError: If the receiver is closed first.
        """
        self.shut_takes()
        try:
            await self.slots.wait(1)
        except ChannelClosedError:
            self.wake_if_finished()
            raise ChannelClosedError(item) from None
        except BaseException:
            self.wake_if_finished()
            raise
        self.push(item)

    def push(self, item: T) -> None:
        """Append ``item`` in a slot that the caller holds."""
        self.buffer.append(item)
        if self.receiver is not None:
            self.wake_receiver()

    def push_permitted(self, item: T) -> None:
        """Append ``item`` in a permit's slot, even after ``close``; destroy it after a drop."""
        if self.dropped:
            self._destroyed += 1
            self.release(1)
        else:
            self.push(item)

    def replace_oldest(self, item: T) -> bool:
        """Append ``item`` in the slot of the oldest one; False if nothing is buffered."""
        if not self.buffer:  # all slots are reserved by permits
            return False
        self.buffer.popleft()
        self._dropped_oldest += 1
        self.push(item)
        return True

    def _overflow(self, item: T) -> bool:
        if self.overflow is Overflow.WAIT:
            return False
        if self.overflow is Overflow.REJECT:
            self._rejected += 1
            raise ChannelFullError(item)
        self.shut_lane()
        if self.overflow is Overflow.DROP_NEWEST or not self.replace_oldest(item):
            self._dropped_newest += 1
        self.put_turn -= 1
        return True

    # -- taking ----------------------------------------------------------------------------

    def take(self) -> T:
        """Pop the oldest item and free its slot."""
        self.shut_takes()
        item = self.buffer.popleft()
        self._received += 1
        self.slots.release(1)
        return item

    def take_many(self, into: list[T], limit: int) -> int:
        """Pop up to ``limit`` items onto ``into`` and free their slots in one batch."""
        self.shut_takes()
        buffer = self.buffer
        count = len(buffer)
        if count <= limit:
            into.extend(buffer)
            buffer.clear()
        else:
            count = limit
            into.extend(map(deque.popleft, repeat(buffer, count)))
        self._received += count
        self.slots.release(count)
        return count

    def take_weighed(self, into: list[T], slots: int, size_bytes: int) -> int:
        """:meth:`take_many` of what weighs so much together; here each item takes one slot."""
        del size_bytes
        return self.take_many(into, slots)

    def destroy(self) -> None:
        """Drop everything buffered and all that permits still send: the receiver is gone."""
        self.shut_lane()
        self.dropped = True
        count = len(self.buffer)
        self.buffer.clear()
        self._destroyed += count
        self.slots.release(count)

    # -- slots -----------------------------------------------------------------------------

    def try_acquire(self, count: int) -> bool:
        """Take ``count`` slots if they are free and nobody is in line."""
        self.shut_lane()
        return self.slots.try_acquire(count)

    async def acquire(self, count: int) -> None:
        """Take ``count`` slots from the fair line; see :meth:`Semaphore.acquire`."""
        if self.put_turn <= 0:
            await self.share_the_loop()
        self.put_turn -= 1
        self.shut_lane()
        try:
            await self.slots.acquire(count)
        except BaseException:
            self.wake_if_finished()
            raise

    def release(self, count: int) -> None:
        """Give back ``count`` slots that were not used."""
        self.slots.release(count)
        self.wake_if_finished()

    # -- ends ------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether no item is buffered and none can come any more."""
        if self.dropped:
            return True
        if self.buffer or self._sharing or not (self.slots.closed or self.senders == 0):
            return False
        self.settle()
        return self.slots.idle

    def wake_receiver(self) -> None:
        """Let the waiting receiver look again; it pops by itself, so a cancel loses nothing."""
        future, self.receiver = self.receiver, None
        if future is not None and not future.done():
            future.set_result(None)

    def wake_if_finished(self) -> None:
        """Wake the receiver if what it waits for cannot come any more."""
        if self.receiver is not None and self.finished:
            self.wake_receiver()

    def close(self) -> None:
        """Refuse new items and fail everyone in line; what is buffered can still be taken."""
        self.shut_lane()
        self.slots.close()
        if self._closed_event is not None:
            self._closed_event.set()
        self.wake_if_finished()

    def drop(self) -> None:
        """Close, and destroy what is buffered: the receiver is gone."""
        self.close()
        self.destroy()
        self.wake_if_finished()

    async def wait_closed(self) -> None:
        """Wait until the receiver is closed or gone."""
        if self.slots.closed:
            return
        if self._closed_event is None:
            self._closed_event = asyncio.Event()
        await self._closed_event.wait()

    def sender_gone(self) -> None:
        """Count one sender less; the last one ends the channel once it is empty."""
        self.senders -= 1
        self.wake_if_finished()

    def owned_permit_gone(self) -> None:
        """Take back the slot of a permit that counts as a sender, and the sender."""
        self.release(1)
        self.sender_gone()

    # -- facts -----------------------------------------------------------------------------

    @property
    def capacity(self) -> int | None:
        """The bound in slots; None if unbounded."""
        return None if self.slots.capacity == UNBOUNDED else self.slots.capacity

    @property
    def free(self) -> int:
        """Slots that are neither taken, reserved, nor promised to someone in line."""
        self.settle()
        return self.slots.free

    @property
    def depth(self) -> int:
        """Slots that buffered items take."""
        return len(self.buffer)

    def statistics(self) -> ChannelStatistics:
        """Everything there is to know, now."""
        self.settle()
        gone = self._received + self._dropped_oldest + self._conflated + self._destroyed
        return ChannelStatistics(
            capacity=self.capacity,
            depth=self.depth,
            peak=self.slots.capacity - self.slots.least_free,
            buffered_count=len(self.buffer),
            buffered_bytes=0,
            buffered_bytes_peak=0,
            max_bytes=None,
            permits_out=self.slots.capacity - self.slots.free - self.depth,
            sent_count=gone + len(self.buffer),
            received_count=self._received,
            rejected_count=self._rejected,
            dropped_newest_count=self._dropped_newest,
            dropped_oldest_count=self._dropped_oldest,
            conflated_count=self._conflated,
            destroyed_count=self._destroyed,
            senders=self.senders,
            weak_senders=self.weak_senders,
            waiting_senders=self.slots.waiting,
            waiting_senders_peak=self.slots.waiting_peak,
            receiver_waiting=self.receiver is not None,
            closed=self.slots.closed,
        )


class LookingCore(Core[T]):
    """A core that looks at every item on its way in and out, so that its fast lane stays shut."""

    __slots__ = ()

    def open_puts(self) -> None:
        """Never."""

    def open_takes(self, most: int) -> int:
        """Never."""
        del most
        return 0

    def offer_some(self, items: Sequence[T], start: int) -> int:
        """One at a time."""
        return int(self.offer(items[start]))
