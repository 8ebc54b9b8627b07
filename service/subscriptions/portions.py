"""What a subscription that catches up gets next, made once for all that are at the same place.

Whoever came back with the same position and the same filter gets the same bytes: after a restart
that is nearly everybody.  A portion never becomes wrong: what has come since is in the next one.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from service.subscriptions.encoding import OVERHEAD_BYTES, EncodedEvent
from service.subscriptions.positions import Positions
from service.subscriptions.protocol import events_body, events_frame, gap_frame

FRAME_BYTES: Final = 64 * 1024
"""About the largest frame: what a client whose socket is full can hold beyond its queue."""

KEPT_BYTES: Final = 4 * 1024 * 1024
"""Most bytes of portions that are kept: how far those who catch up may be apart to share them."""

POSITION_BYTES: Final = 250
"""About what the objects around a partition's positions take, before and after a portion."""


class Place(NamedTuple):
    """Where a subscription is, as far as it decides what it gets next.

    Attributes:
        source: What it reads: a window, or a history.
        where_json: Its filter.
        latest_only: Whether it wants only the last event of each key.
        positions: What it has.
    """

    source: object
    where_json: bytes
    latest_only: bool
    positions: tuple[tuple[int, int], ...]


class Portion:
    """About a frame's worth of events, and what comes after them.

    Attributes:
        events: How many.
        following: What is to be read next.
        number: The same in the window it was taken from; 0 elsewhere.
        full: Whether nothing more would be put in it if it were made anew.
        lost: Records before it that are stored no more.
    """

    __slots__ = ("_body", "_frames", "_id_json", "events", "following", "full", "lost", "number")

    def __init__(
        self,
        events: Sequence[EncodedEvent],
        following: Positions,
        *,
        latest_only: bool,
        number: int = 0,
        full: bool = True,
        lost: int = 0,
    ) -> None:
        if latest_only:
            events = latest(events)
        self.events = len(events)
        self.following = following
        self.number = number
        self.full = full
        self.lost = lost
        self._body = events_body(events, following) if events else b""
        self._id_json = b""
        self._frames = b""

    @property
    def size_bytes(self) -> int:
        """What it takes of the bound."""
        return len(self._body) + OVERHEAD_BYTES + POSITION_BYTES * len(self.following)

    def frames(self, id_json: bytes) -> bytes:
        """What the client is told; empty if there is nothing to tell."""
        if id_json != self._id_json:  # nearly always the one of whoever was here before
            frames = gap_frame(id_json, self.lost, self.following) if self.lost else b""
            if self._body:
                frames += events_frame(id_json, self._body)
            self._id_json, self._frames = id_json, frames
        return self._frames


class Portions:
    """The portions that were made last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Place, Portion] = OrderedDict()
        self._bytes = 0

    def get(self, place: Place) -> Portion | None:
        """What comes next at ``place``, if somebody has been there."""
        return self._kept.get(place)

    def keep(self, place: Place, portion: Portion) -> None:
        """Keep ``portion``, unless it leads nowhere yet: something may come."""
        if portion.following == dict(place.positions):
            return
        if (stale := self._kept.pop(place, None)) is not None:
            self._bytes -= stale.size_bytes
        self._kept[place] = portion
        self._bytes += portion.size_bytes
        while self._bytes > KEPT_BYTES:
            self._bytes -= self._kept.popitem(last=False)[1].size_bytes

    def clear(self) -> None:
        """Keep none of them."""
        self._kept.clear()
        self._bytes = 0


def latest(events: Sequence[EncodedEvent]) -> list[EncodedEvent]:
    """The last event of each key, in order; all events without a key."""
    last = {event.key: index for index, event in enumerate(events)}
    return [e for i, e in enumerate(events) if e.key is None or last[e.key] == i]
