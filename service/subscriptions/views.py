"""What the clients of one filter still have to get: a bounded run of events and cursors into it.

A view numbers its matching events 0, 1, 2, ...; a client of it is nothing but a *cursor*, the
number of the event that it gets next.  The bound in items and bytes therefore holds for every
client of the view at once, and an event costs the same for one client and for a thousand.
Pure: no clock, no sockets.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from service.subscriptions.encoding import EncodedEvent

MAX_ITEMS = 1000
MAX_BYTES = 256 * 1024


class Slice(NamedTuple):
    """What a client gets next.

    Attributes:
        events: In order of arrival.
        cursor: Where it is afterwards.
        dropped: Events that it will never get, lost before ``events``.
    """

    events: list[EncodedEvent]
    cursor: int
    dropped: int


class RingView:
    """Every matching event in order; the oldest ones go when the bound is reached.

    Serves ``drop_oldest`` and ``disconnect``: the two differ only in what the caller does about
    ``dropped``.

    Args:
        max_items: Most events kept.
        max_bytes: Most bytes kept, as ``EncodedEvent.size_bytes`` counts them.  A newest event
            that is larger by itself comes on top: no client could ever get it otherwise, however
            quick it is.
    """

    def __init__(self, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._events: deque[EncodedEvent] = deque()
        self._bytes = 0
        self.end = 0
        """Number of the event that comes next."""

    @property
    def head(self) -> int:
        """Number of the oldest event that is still here."""
        return self.end - len(self._events)

    @property
    def crowded(self) -> bool:
        """Whether it is half full: time to serve its clients."""
        return 2 * len(self._events) > self._max_items or 2 * self._bytes > self._max_bytes

    def append(self, event: EncodedEvent) -> None:
        """Add ``event``; O(1)."""
        self._events.append(event)
        self._bytes += event.size_bytes
        self.end += 1
        most_bytes = _bound(self._max_bytes, event)
        while len(self._events) > self._max_items or self._bytes > most_bytes:
            self._pop()

    def take(self, cursor: int, max_bytes: int) -> Slice:
        """What the client at ``cursor`` gets next, about ``max_bytes`` but at least one event."""
        first = max(cursor, self.head)
        events = list(_fit(islice(self._events, first - self.head, None), max_bytes))
        return Slice(events, first + len(events), first - cursor)

    def after(self, cursor: int) -> Iterator[EncodedEvent]:
        """The events from ``cursor`` on."""
        return islice(self._events, max(cursor - self.head, 0), None)

    def trim(self, cursor: int) -> None:
        """Forget what lies before ``cursor``: every client has it."""
        while self._events and self.head < cursor:
            self._pop()

    def _pop(self) -> None:
        self._bytes -= self._events.popleft().size_bytes


class LatestView:
    """The latest matching event of each key, in order of arrival.

    Serves ``conflate``.  An event supersedes the earlier one of its key for every client that
    has not got that yet; events without a key are never superseded.  When more keys wait than
    the bound allows, the oldest go and count as dropped.
    """

    def __init__(self, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._events: dict[int, EncodedEvent] = {}  # by number, ascending
        self._numbers: dict[bytes, int] = {}  # latest number of each key
        self._evicted: list[int] = []  # ascending
        self._bytes = 0
        self.end = 0
        """Number of the event that comes next."""

    @property
    def head(self) -> int:
        """Number of the oldest event that is still here."""
        return next(iter(self._events), self.end)

    @property
    def crowded(self) -> bool:
        """Whether it is half full: time to serve its clients."""
        return 2 * len(self._events) > self._max_items or 2 * self._bytes > self._max_bytes

    def append(self, event: EncodedEvent) -> None:
        """Add ``event`` in place of the earlier one of its key; O(1)."""
        if event.key is not None:
            superseded = self._numbers.get(event.key)
            if superseded is not None:
                self._bytes -= self._events.pop(superseded).size_bytes
            self._numbers[event.key] = self.end
        self._events[self.end] = event
        self._bytes += event.size_bytes
        self.end += 1
        most_bytes = _bound(self._max_bytes, event)
        while len(self._events) > self._max_items or self._bytes > most_bytes:
            self._evicted.append(self._pop())

    def take(self, cursor: int, max_bytes: int) -> Slice:
        """What the client at ``cursor`` gets next, about ``max_bytes`` but at least one event.

        ``dropped`` counts evicted events, including any whose key has a later event by now.
        """
        dropped = len(self._evicted) - bisect_left(self._evicted, cursor)
        events: list[EncodedEvent] = []
        after = self.end
        size_bytes = 0
        for number, event in self._from(cursor):
            size_bytes += event.size_bytes
            if events and size_bytes > max_bytes:
                after = number
                break
            events.append(event)
        return Slice(events, after, dropped)

    def after(self, cursor: int) -> Iterator[EncodedEvent]:
        """The events from ``cursor`` on."""
        return (event for _, event in self._from(cursor))

    def trim(self, cursor: int) -> None:
        """Forget what lies before ``cursor``: every client has it."""
        while self._events and self.head < cursor:
            self._pop()
        del self._evicted[: bisect_left(self._evicted, cursor)]

    def _from(self, cursor: int) -> Iterator[tuple[int, EncodedEvent]]:
        return ((number, event) for number, event in self._events.items() if number >= cursor)

    def _pop(self) -> int:
        number = next(iter(self._events))
        event = self._events.pop(number)
        self._bytes -= event.size_bytes
        if event.key is not None and self._numbers.get(event.key) == number:
            del self._numbers[event.key]
        return number


def _bound(max_bytes: int, newest: EncodedEvent) -> int:
    """Most bytes that may be kept now that ``newest`` has come."""
    return max_bytes if newest.size_bytes <= max_bytes else max_bytes + newest.size_bytes


def _fit(events: Iterator[EncodedEvent], max_bytes: int) -> Iterator[EncodedEvent]:
    size_bytes = 0
    for event in events:
        size_bytes += event.size_bytes
        if size_bytes > max_bytes and size_bytes > event.size_bytes:
            return
        yield event
