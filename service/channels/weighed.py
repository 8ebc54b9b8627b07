"""A channel whose items weigh something: slots, bytes, or both."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from service.channels.core import UNBOUNDED, LookingCore
from service.channels.overflow import Overflow
from service.channels.semaphore import Semaphore
from service.channels.statistics import ChannelStatistics
from service.errors import ChannelClosedError

T = TypeVar("T")


class WeighedCore(LookingCore[T]):
    """A buffer bounded by the weight of its items, in slots and in bytes.

    An item that weighs more than a whole bound counts as exactly that bound: it is admitted when
    the channel is otherwise empty, so nothing waits for ever, and the bound is exceeded by that
    one item only.

    Args:
        capacity: Slots in all.
        max_bytes: Bytes in all; None for no bound.
        bytes_of: Bytes of an item; None for 0.  Like ``items_of`` it may be called more than once
            while the item is sent, and must not change its mind.
        items_of: Slots that an item takes; None for 1.  Less than 1 counts as 1.
        overflow: What to do with an item that finds no room.
    """

    __slots__ = (
        "_buffered_bytes",
        "_bytes_of",
        "_depth",
        "_items_of",
        "_weights",
        "space",
    )

    def __init__(
        self,
        capacity: int,
        max_bytes: int | None,
        bytes_of: Callable[[T], int] | None,
        items_of: Callable[[T], int] | None,
        overflow: Overflow,
    ) -> None:
        super().__init__(capacity, overflow)
        self.space = Semaphore(UNBOUNDED if max_bytes is None else max_bytes)
        self._depth = 0
        self._buffered_bytes = 0
        self._bytes_of = bytes_of
        self._items_of = items_of
        self._weights: deque[tuple[int, int]] = deque()

    def try_put(self, item: T) -> bool:
        """Append ``item`` if there is room for its weight and nobody waits for it."""
        slots, size_bytes = weight = self._weigh(item)
        # Both or nothing: slots that are taken and given back would count as a peak.
        if self.space.free < size_bytes or not self.slots.try_acquire(slots):
            return False
        self.space.try_acquire(size_bytes)
        self._push_weighed(item, weight)
        return True

    async def put(self, item: T) -> None:
        """Append ``item``, waiting in line for slots and then in line for bytes.

        Raises:
            ChannelClosedError: If the receiver is closed first.
        """
        slots, size_bytes = weight = self._weigh(item)
        try:
            await self.acquire(slots)
            try:
                await self.space.acquire(size_bytes)
            except BaseException:
                self.release(slots)
                raise
        except ChannelClosedError:
            raise ChannelClosedError(item) from None
        self._push_weighed(item, weight)

    def replace_oldest(self, item: T) -> bool:
        """Drop the oldest items until ``item`` fits; False if it does not even then."""
        while self.buffer:
            self.buffer.popleft()
            self._dropped_oldest += 1
            self._free(*self._weights.popleft())
            if self.try_put(item):
                return True
        return False

    def take(self) -> T:
        """Pop the oldest item and free what it weighed."""
        item = self.buffer.popleft()
        self._received += 1
        self._free(*self._weights.popleft())
        return item

    def take_many(self, into: list[T], limit: int) -> int:
        """Pop up to ``limit`` items onto ``into`` and free their weights in one batch."""
        count = min(limit, len(self.buffer))
        slots = size_bytes = 0
        for _ in range(count):
            into.append(self.buffer.popleft())
            item_slots, item_bytes = self._weights.popleft()
            slots += item_slots
            size_bytes += item_bytes
        self._received += count
        self._free(slots, size_bytes)
        return count

    def take_weighed(self, into: list[T], slots: int, size_bytes: int) -> int:
        """Pop the oldest item, and those behind it that weigh no more than so much with it."""
        count = 0
        for item_slots, item_bytes in self._weights:
            slots -= item_slots
            size_bytes -= item_bytes
            if count and (slots < 0 or size_bytes < 0):
                break
            count += 1
        return self.take_many(into, count)

    def destroy(self) -> None:
        """Drop everything buffered: the receiver is gone."""
        self.dropped = True
        self._destroyed += len(self.buffer)
        self.buffer.clear()
        while self._weights:
            self._free(*self._weights.popleft())

    def close(self) -> None:
        """Refuse new items and fail everyone in either line."""
        self.space.close()
        super().close()

    @property
    def depth(self) -> int:
        """Slots that buffered items take."""
        return self._depth

    def statistics(self) -> ChannelStatistics:
        """Everything there is to know, now."""
        return replace(
            super().statistics(),
            buffered_bytes=self._buffered_bytes,
            buffered_bytes_peak=self.space.capacity - self.space.least_free,
            max_bytes=None if self.space.capacity == UNBOUNDED else self.space.capacity,
            waiting_senders=self.slots.waiting + self.space.waiting,
        )

    def _weigh(self, item: T) -> tuple[int, int]:
        slots = 1 if self._items_of is None else max(self._items_of(item), 1)
        size_bytes = 0 if self._bytes_of is None else max(self._bytes_of(item), 0)
        return min(slots, self.slots.capacity), min(size_bytes, self.space.capacity)

    def _push_weighed(self, item: T, weight: tuple[int, int]) -> None:
        slots, size_bytes = weight
        self._depth += slots
        self._buffered_bytes += size_bytes
        self._weights.append(weight)
        self.push(item)

    def _free(self, slots: int, size_bytes: int) -> None:
        self._depth -= slots
        self._buffered_bytes -= size_bytes
        self.space.release(size_bytes)
        self.slots.release(slots)
