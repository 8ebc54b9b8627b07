"""Who may go in which lane: one at a time per key, first come first served.

Pure bookkeeping: no event loop, no clock, no idea of what goes in the lanes.  A lane exists only
while something is in it, and has a queue only while something waits for it, so a million idle
keys cost nothing.
"""

from collections import deque
from collections.abc import Collection, Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Lanes(Generic[T]):
    """Admits one item per lane and queues the others behind it.

    >>> lanes = Lanes[str]()
    >>> lanes.submit("red", "first"), lanes.submit("red", "second"), lanes.submit("blue", "third")
    (True, False, True)
    >>> len(lanes)
    1
    >>> lanes.finish("red")
    ('second',)
    >>> lanes.finish("red"), lanes.finish("blue")
    (None, None)
    """

    __slots__ = ("_busy", "_waiting")

    def __init__(self) -> None:
        self._busy: dict[Hashable, deque[T] | None] = {}
        self._waiting = 0

    def __len__(self) -> int:
        """How many items wait for a lane; those that may go are not counted."""
        return self._waiting

    def __contains__(self, key: Hashable) -> bool:
        """Whether something is in the lane ``key`` right now."""
        return key in self._busy

    def waiting(self, key: Hashable) -> Collection[T]:
        """What waits for the lane ``key``, first come first; to look at only."""
        return self._busy.get(key) or ()

    def submit(self, key: Hashable, item: T) -> bool:
        """Let ``item`` go if its lane is free, which occupies the lane; else queue it."""
        queue = self._busy.get(key, self)
        if queue is self:
            self._busy[key] = None
            return True
        if isinstance(queue, deque):
            queue.append(item)
        else:
            self._busy[key] = deque((item,))
        self._waiting += 1
        return False

    def finish(self, key: Hashable) -> tuple[T] | None:
        """Say that what was in the lane ``key`` is out.

        Returns:
            The next item of the lane, which occupies it now, in a tuple of one; ``None`` if
            nothing waits and the lane is free.

        Raises:
            KeyError: If nothing is in the lane.
        """
        queue = self._busy[key]
        if not queue:
            del self._busy[key]
            return None
        self._waiting -= 1
        item = queue.popleft()
        if not queue:
            self._busy[key] = None
        return (item,)

    def clear(self) -> Iterator[T]:
        """Empty every lane and return what was waiting, per lane in order."""
        queues = [queue for queue in self._busy.values() if queue]
        self._busy = {}
        self._waiting = 0
        return (item for queue in queues for item in queue)
