"""A channel that keeps only the latest item of each key."""

from collections import deque
from collections.abc import Hashable
from typing import TypeVar, cast

from service.channels.core import LookingCore
from service.channels.overflow import Conflate

T = TypeVar("T")


class ConflatingCore(LookingCore[T]):
    """A buffer with one slot per key.

    A permit whose item finds its key buffered gives its slot back.

    Args:
        capacity: Slots in all.
        policy: The key, and what to do with a new key that finds no slot.
    """

    __slots__ = ("_key", "_latest", "_line")

    def __init__(self, capacity: int, policy: Conflate) -> None:
        super().__init__(capacity, policy.when_full)
        self._key = policy.key
        self._latest: dict[Hashable, T] = {}
        # The same deque: here the line is one of keys, and with the lane shut nobody but this
        # class looks into it; the ends only ask how long it is.
        self._line = cast("deque[Hashable]", self.buffer)

    def try_put(self, item: T) -> bool:
        """Replace the buffered item of the same key, or append ``item`` if there is a slot."""
        key = self._key(item)
        if key in self._latest:
            self._latest[key] = item
            self._conflated += 1
            return True
        return super().try_put(item)

    def push(self, item: T) -> None:
        """Append ``item`` in a slot that the caller holds, or free the slot if it needs none."""
        try:
            key = self._key(item)
            known = key in self._latest
        except BaseException:
            self.release(1)
            raise
        if known:
            self._conflated += 1
            self.slots.release(1)
        else:
            self._line.append(key)
        self._latest[key] = item
        if self.receiver is not None:
            self.wake_receiver()

    def replace_oldest(self, item: T) -> bool:
        """Give ``item`` the slot of the oldest key; False if nothing is buffered."""
        if not self._line:
            return False
        del self._latest[self._line.popleft()]
        self._dropped_oldest += 1
        self.push(item)
        return True

    def take(self) -> T:
        """Pop the latest item of the oldest key and free its slot."""
        item = self._latest.pop(self._line.popleft())
        self._received += 1
        self.slots.release(1)
        return item

    def take_many(self, into: list[T], limit: int) -> int:
        """Pop the latest items of up to ``limit`` keys and free their slots in one batch."""
        count = min(limit, len(self._line))
        into.extend(self._latest.pop(self._line.popleft()) for _ in range(count))
        self._received += count
        self.slots.release(count)
        return count

    def destroy(self) -> None:
        """Drop everything buffered: the receiver is gone."""
        super().destroy()
        self._latest.clear()
