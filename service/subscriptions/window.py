"""The recent events of a topic, from which a client that was away for a moment resumes.

Pure.  The window knows what it holds: from ``low[p]`` up to ``positions[p]`` every record of
partition ``p`` that exists has been seen.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice

from service.subscriptions.encoding import EncodedEvent
from service.subscriptions.positions import Positions


class RecentWindow:
    """A bounded run of the latest events, numbered like a view.

    Args:
        start: Where reading begins, by partition.
        max_items: Most events kept.
        max_bytes: Most bytes kept, as ``EncodedEvent.size_bytes`` counts them.
    """

    def __init__(self, start: Mapping[int, int], *, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._events: deque[EncodedEvent] = deque()
        self._bytes = 0
        self.low: Positions = dict(start)
        self.positions: Positions = dict(start)
        self.end = 0
        """Number of the event that comes next."""

    @property
    def head(self) -> int:
        """Number of the oldest event that is still here."""
        return self.end - len(self._events)

    def append(self, event: EncodedEvent) -> None:
        """Add ``event``, whose offset is at or after its partition's position."""
        self._events.append(event)
        self._bytes += event.size_bytes
        self.end += 1
        self.positions[event.partition] = event.offset + 1
        self.low.setdefault(event.partition, event.offset)
        while len(self._events) > self._max_items or self._bytes > self._max_bytes:
            oldest = self._events.popleft()
            self._bytes -= oldest.size_bytes
            self.low[oldest.partition] = oldest.offset + 1

    def advance(self, partition: int, next_offset: int) -> None:
        """Everything of ``partition`` below ``next_offset`` has been seen."""
        if next_offset > self.positions.get(partition, -1):
            self.positions[partition] = next_offset
        self.low.setdefault(partition, next_offset)

    def number_of(self, positions: Mapping[int, int]) -> int:
        """The number of the first event at or after its partition's place in ``positions``.

        Looked for from the end, so that a client that was away for a moment costs as much as it
        has missed; events between may lie before their partition's place.
        """
        missed = {p for p, last in self.positions.items() if positions.get(p, 0) < last}
        number = first = self.end
        for event in reversed(self._events):
            if not missed:
                break
            number -= 1
            if event.offset >= positions.get(event.partition, 0):
                first = number
            else:
                missed.discard(event.partition)
        return first

    def after(self, number: int) -> Iterator[EncodedEvent]:
        """The events from ``number`` on."""
        return islice(self._events, max(number - self.head, 0), None)
