"""Opens and shuts a channel's fast lane, and books what was done in it.

A count of operations is given ahead where nothing can happen on the way: no end waits, none is in
line, no new peak is reached.  Whoever wants to know or to decide anything shuts the lane first.
"""

import asyncio
from collections import deque
from typing import Generic, TypeVar

from service.channels.lane import BUDGET, Lane
from service.channels.semaphore import Semaphore

T = TypeVar("T")


class LaneKeeper(Generic[T]):
    """A buffer, its slots, and the lane past them.

    Args:
        capacity: Slots in all.

    Attributes:
        buffer: The items in line.
        slots: Who may put one there.  Read it after :meth:`settle`.
        lane: What the ends may do without asking.
        receiver: Set while the receiver waits for an item or for the end.
        put_turn: Puts left until senders have to let other tasks run.
    """

    __slots__ = ("_received", "buffer", "lane", "put_turn", "receiver", "slots")

    def __init__(self, capacity: int) -> None:
        self.buffer: deque[T] = deque()
        self.lane = Lane(self.buffer)
        self.slots = Semaphore(capacity)
        self.receiver: asyncio.Future[None] | None = None
        self.put_turn = BUDGET
        self._received = 0

    def settle(self) -> None:
        """Book what the fast lane did since it was last looked at."""
        lane = self.lane
        puts = lane.puts_given - lane.puts
        takes = lane.takes_given - lane.takes
        if puts or takes:
            lane.puts_given = lane.puts
            lane.takes_given = lane.takes
            self._received += takes
            self.slots.free += takes - puts

    def shut_puts(self) -> None:
        """Settle, and make the next put ask."""
        self.settle()
        self.lane.puts = self.lane.puts_given = 0

    def shut_takes(self) -> None:
        """Settle, and make the next take ask."""
        self.settle()
        self.lane.takes = self.lane.takes_given = 0

    def shut_lane(self) -> None:
        """Settle, and make the next operation of either end ask."""
        self.settle()
        lane = self.lane
        lane.puts = lane.puts_given = lane.takes = lane.takes_given = 0

    def open_puts(self) -> None:
        """Let the senders put without asking, as far as nothing can happen on the way.

        Not below the lowest number of free slots so far, so that every new peak is seen.
        """
        slots = self.slots
        if self.receiver is None and not slots.closed and not slots.waiting:
            count = min(self.put_turn, slots.free - slots.least_free)
            if count > 0:
                self.put_turn -= count
                self.lane.puts = self.lane.puts_given = count

    def open_takes(self, most: int) -> int:
        """Let the receiver take up to ``most`` items without asking; return how many."""
        if self.slots.waiting:
            return 0
        count = min(most, len(self.buffer))
        self.lane.takes = self.lane.takes_given = count
        return count
