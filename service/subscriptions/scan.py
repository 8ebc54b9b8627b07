"""What of the recent events passes one filter, found once for all who resume with it.

Pure.  A thousand clients that come back with the same filter would each decode and test the same
thousands of events.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice

from service.subscriptions.encoding import EncodedEvent
from service.subscriptions.window import RecentWindow
from service.where import Predicate


class SharedScan:
    """The events of ``window`` that pass ``where``, from number ``first`` on, as far as looked at.

    Args:
        window: The recent events.
        where: The filter.
        first: Number of the first event that is looked at.

    Attributes:
        upto: Number of the first event that has not been looked at.
    """

    __slots__ = ("__weakref__", "_events", "_first", "_numbers", "_where", "_window", "upto")

    def __init__(self, window: RecentWindow, where: Predicate, first: int) -> None:
        self._window = window
        self._where = where
        self._numbers: list[int] = []
        self._events: list[EncodedEvent] = []
        self._first = first
        self.upto = first

    def serves(self, window: RecentWindow, number: int) -> bool:
        """Whether it knows what passes from ``number`` of ``window`` on."""
        return window is self._window and number >= self._first

    def look(self, most: int) -> None:
        """Look at up to ``most`` events more."""
        window = self._window
        self.upto = max(self.upto, window.head)  # those between are gone
        for event in islice(window.after(self.upto), most):
            if self._where(event.data()):
                self._numbers.append(self.upto)
                self._events.append(event)
            self.upto += 1

    def passing(self, number: int) -> Iterator[tuple[int, EncodedEvent]]:
        """What passes from ``number`` on, with its numbers, as far as it has been looked at."""
        gone = bisect_left(self._numbers, self._window.head)
        if gone > len(self._numbers) // 2:
            del self._numbers[:gone]
            del self._events[:gone]
        for place in range(bisect_left(self._numbers, number), len(self._numbers)):
            yield self._numbers[place], self._events[place]
