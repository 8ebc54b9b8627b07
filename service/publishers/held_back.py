"""Results of records that several handlers work on, until one transaction can have all of them.

So those of a quick handler wait for a slow one, and what it has made of later records of the same
lane waits behind them: else it would come out in another order than it went in.

Pure bookkeeping: no client, no clock, no event loop.  A record that is held back is not done, so
that no position is committed beyond it, and is when it is released.
"""

from bisect import insort
from collections.abc import Callable, Hashable, Iterator
from itertools import dropwhile
from operator import attrgetter
from typing import TypeAlias

from service.events import Record, RecordBatch
from service.publishers.output import record_size
from service.publishers.runs import Entry

LaneOf: TypeAlias = Callable[[Record], Hashable]
"""What results of records have to share to keep their order."""

by_key: LaneOf = attrgetter("key")
"""Those of one key do."""


def all_together(_record: Record) -> None:
    """All of a partition do."""


class Held:
    """What there is so far of one record.

    Attributes:
        batch: The record's batch.
        place: Its place there.
        entries: Its results, each with the topic and the partition that it is for.
        size_bytes: Their size.
    """

    __slots__ = ("batch", "entries", "place", "size_bytes")

    def __init__(self, batch: RecordBatch, place: int) -> None:
        self.batch = batch
        self.place = place
        self.entries: list[tuple[str, int, Entry]] = []
        self.size_bytes = 0

    @property
    def complete(self) -> bool:
        """Whether nobody has anything to add."""
        pending = self.batch.pending
        return pending is None or pending[self.place] <= 1

    @property
    def left(self) -> bool:
        """Whether a handler has left it to the next owner of its partition."""
        begun = self.batch.begun
        return begun is not None and not begun[self.place] and not self.complete


class HeldBack:
    """What is held back of one input partition.

    Args:
        charge: Told how many bytes more, or fewer, are held back, so that less of the partition
            is read.
        lane_of: Of which records the results keep their order.
    """

    def __init__(self, charge: Callable[[int], object], lane_of: LaneOf) -> None:
        self._charge = charge
        self._lane_of = lane_of
        self._held: dict[tuple[int, int], Held] = {}
        self._lanes: dict[Hashable, list[Held]] = {}
        """The same by lane, as the records lie in the partition."""

    def __bool__(self) -> bool:
        return bool(self._held)

    def must_wait(self, batch: RecordBatch, place: int) -> bool:
        """Whether a result of this record has to be held back."""
        pending = batch.pending
        if pending is not None and pending[place] > 1:
            return True
        return bool(self._lanes) and self._lane_of(batch.records[place]) in self._lanes

    def hold(self, topic: str, partition: int, entry: Entry) -> None:
        """Hold one result back, and with the first of a record the record."""
        batch, place = entry.batch, entry.place
        held = self._held.get((id(batch), place))
        if held is None:
            held = self._held[id(batch), place] = Held(batch, place)
            lane = self._lanes.setdefault(self._lane_of(batch.records[place]), [])
            insort(lane, held, key=_position)
            batch.hold(place)
        held.entries.append((topic, partition, entry))
        size_bytes = record_size(entry.key, entry.value, entry.headers)
        held.size_bytes += size_bytes
        self._charge(size_bytes)

    def release(self, batch: RecordBatch, place: int) -> Iterator[Held]:
        """What waits for nothing any more of this record's lane, for the caller to acknowledge."""
        yield from self._release(self._lane_of(batch.records[place]))

    def _release(self, key: Hashable) -> Iterator[Held]:
        lane = self._lanes.get(key, [])
        while lane and lane[0].complete:
            held = lane.pop(0)
            del self._held[id(held.batch), held.place]
            if not lane:
                del self._lanes[key]
            self._charge(-held.size_bytes)
            yield held

    def release_all(self) -> Iterator[Held]:
        """The same for every lane.

        What waits behind a record that has been left is left as well: it is not in flight.
        """
        for key in list(self._lanes):
            yield from self._release(key)
            lane = self._lanes.get(key, [])
            for held in dropwhile(lambda held: not held.left, lane):
                if held.batch.begun is not None:
                    held.batch.begun[held.place] = 0

    def discard(self) -> None:
        """Forget everything: the partition is read again."""
        for held in self._held.values():
            if held.complete:  # or nobody would say so any more
                held.batch.dropped((held.place,))
        self._charge(-sum(held.size_bytes for held in self._held.values()))
        self._held.clear()
        self._lanes.clear()


def _position(held: Held) -> tuple[int, int]:
    return held.batch.serial, held.place
