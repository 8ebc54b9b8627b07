"""Results of records that several handlers work on, until one transaction can have all of them.

So those of a quick handler wait for a slow one, and what it has made of later records of the same
lane waits behind them: else it would come out in another order than it went in.

Pure bookkeeping: no client, no clock, no event loop.  A record that is held back is not done, so
that no position is committed beyond it, and is when it is released.
"""

from bisect import insort
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from itertools import dropwhile
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

from service.events import Record, RecordBatch
from service.publishers.base import Row
from service.publishers.output import record_size
from service.publishers.runs import EntryOwner, Run

LaneOf: TypeAlias = Callable[[Record], Hashable]
"""What results of records have to share to keep their order."""

by_key: LaneOf = attrgetter("key")
"""Those of one key do."""

each_alone: LaneOf = attrgetter("offset")
"""Only those of one record do."""


def all_together(_record: Record) -> None:
    """All of a partition do."""


class Addressed(NamedTuple):
    """Records of one run that are for one output partition."""

    topic: str
    partition: int
    run: Run
    rows: Sequence[Row]


class Released(NamedTuple):
    """What goes into the next transaction, and what is to be acknowledged once it is there."""

    outputs: list[Addressed]
    done: list[tuple[RecordBatch, list[int]]]


NOTHING: Final = Released([], [])


class _Target(NamedTuple):
    """What results share that can travel in one run."""

    serial: int
    topic: str
    partition: int
    owner: EntryOwner
    failed: bool


class _Held:
    """What there is so far of one record.

    Attributes:
        batch: The record's batch.
        place: Its place there.
        results: Its results, and for whom they are.
        size_bytes: Their size.
    """

    __slots__ = ("batch", "place", "results", "size_bytes")

    def __init__(self, batch: RecordBatch, place: int) -> None:
        self.batch = batch
        self.place = place
        self.results: list[tuple[_Target, Row]] = []
        self.size_bytes = 0

    @classmethod
    def of(cls, batch: RecordBatch, target: _Target, place: int, row: Row) -> "_Held":
        """One of a single result."""
        held = cls(batch, place)
        held.results.append((target, row))
        return held

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
        self._held: dict[int, dict[int, _Held]] = {}
        """By the serial number of the batch and the place in it."""
        self._lanes: dict[Hashable, list[_Held]] = {}
        """The same by lane, as the records lie in the partition."""

    def __bool__(self) -> bool:
        return bool(self._held)

    def add(self, output: Addressed) -> Released:
        """Hold back of one handler's results what has to be, release what waited for them only.

        Each result stands for one acknowledgement of its record.
        """
        run, batch = output.run, output.run.batch
        if batch.pending is None and not self._lanes:
            return Released([output], [(batch, run.places.copy())])
        places: list[int] = []
        go: list[Row] = []
        target = _Target(batch.serial, output.topic, output.partition, run.owner, run.failed)
        released = self._complete(self._sort(output, target, places, go))
        if released:
            released += map(partial(_Held.of, batch, target), places, go)
            return self._forgotten(released)
        if not go:
            return NOTHING
        whole = Run(batch, places, run.owner, failed=run.failed)
        return Released(
            [Addressed(output.topic, output.partition, whole, go)],
            [(batch, places.copy())],  # the run may grow when it is queued
        )

    def _sort(
        self, output: Addressed, target: _Target, places: list[int], go: list[Row]
    ) -> set[Hashable]:
        """Hold rows back, or add them and their places to ``places`` and ``go``.

        A record's first result is not acknowledged here, every other one is: from the first one on
        the record is held, and its release acknowledges it.

        Returns:
            The lanes of what is held back.
        """
        run = output.run
        batch, lane_of, lanes = run.batch, self._lane_of, self._lanes
        pending, records = batch.pending, batch.records
        mine = self._held.get(batch.serial, {})
        again: list[int] = []
        touched = set[Hashable]()
        more_bytes = 0
        for place, row in zip(run.places, output.rows, strict=True):
            lane = lane_of(records[place])
            held = mine.get(place)
            if held is not None:
                again.append(place)
            elif (pending is not None and pending[place] > 1) or lane in lanes:
                held = mine[place] = _Held(batch, place)
                in_line = lanes.setdefault(lane, [])
                if in_line and _position(in_line[-1]) > _position(held):
                    insort(in_line, held, key=_position)
                else:
                    in_line.append(held)
            else:
                places.append(place)
                go.append(row)
                continue
            touched.add(lane)
            held.results.append((target, row))
            size_bytes = record_size(*row[1:4])
            held.size_bytes += size_bytes
            more_bytes += size_bytes
        if mine:
            self._held[batch.serial] = mine
            self._charge(more_bytes)
        batch.ack_many(again)
        return touched

    def release(self) -> Released:
        """What waits for nothing any more, of every lane.

        What waits behind a record that has been left is left as well: it is not in flight.
        """
        released = self._complete(list(self._lanes))
        for lane in self._lanes.values():
            for held in dropwhile(lambda held: not held.left, lane):
                if held.batch.begun is not None:
                    held.batch.begun[held.place] = 0
        return self._forgotten(released) if released else NOTHING

    def _complete(self, lanes: Iterable[Hashable]) -> list[_Held]:
        """Take out of ``lanes`` what waits for nothing any more."""
        released: list[_Held] = []
        for key in lanes:
            lane = self._lanes[key]
            count = 0
            for held in lane:
                if not held.complete:
                    break
                count += 1
            if count == len(lane):
                del self._lanes[key]
                released += lane
            elif count:
                released += lane[:count]
                del lane[:count]
        return released

    def _forgotten(self, released: list[_Held]) -> Released:
        """Records that are held no longer, their results put into runs as they were read."""
        released.sort(key=_position)
        places: dict[RecordBatch, list[int]] = {}
        outputs: dict[_Target, tuple[list[int], list[Row]]] = {}
        size_bytes = 0
        for held in released:
            batch, place = held.batch, held.place
            some = places.get(batch)
            if some is None:
                some = places[batch] = []
            some.append(place)
            size_bytes += held.size_bytes
            for target, row in held.results:
                output = outputs.get(target)
                if output is None:
                    output = outputs[target] = ([], [])
                output[0].append(place)
                output[1].append(row)
        for batch, some in places.items():
            mine = self._held.get(batch.serial, {})
            for place in some:
                mine.pop(place, None)
            if not mine:
                self._held.pop(batch.serial, None)
        self._charge(-size_bytes)
        batches = {batch.serial: batch for batch in places}
        return Released(
            [
                Addressed(
                    target.topic,
                    target.partition,
                    Run(batches[target.serial], some, target.owner, failed=target.failed),
                    rows,
                )
                for target, (some, rows) in outputs.items()
            ],
            list(places.items()),
        )

    def discard(self) -> None:
        """Forget everything: the partition is read again."""
        everything = [held for mine in self._held.values() for held in mine.values()]
        for held in everything:
            if held.complete:  # or nobody would say so any more
                held.batch.dropped((held.place,))
        self._charge(-sum(held.size_bytes for held in everything))
        self._held.clear()
        self._lanes.clear()


def _position(held: _Held) -> tuple[int, int]:
    return held.batch.serial, held.place
