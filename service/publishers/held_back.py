"""Results of records that several handlers work on, until one transaction can have all of them.

So those of a quick handler wait for a slow one, and what it has made of later records of the same
lane waits behind them: else it would come out in another order than it went in.

Pure bookkeeping: no client, no clock, no event loop.  A record that is held back is not done, so
that no position is committed beyond it, and is when it is released.
"""

from bisect import insort
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import dropwhile
from operator import attrgetter
from typing import NamedTuple, TypeAlias

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


class Output(NamedTuple):
    """Records of one run that are for one output partition."""

    topic: str
    partition: int
    run: Run
    rows: Sequence[Row]


class Released(NamedTuple):
    """What goes into the next transaction, and what is to be acknowledged once it is there."""

    outputs: list[Output]
    done: list[tuple[RecordBatch, list[int]]]


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

    def add(self, output: Output) -> Released:
        """Hold back of one handler's results what has to be, release what waited for them only.

        Each result stands for one acknowledgement of its record.
        """
        run, batch = output.run, output.run.batch
        if batch.pending is None and not self._lanes:
            return Released([output], [(batch, run.places.copy())])
        places: list[int] = []
        go: list[Row] = []
        lanes = self._sort(output, places, go)
        outputs, done = self._release(lanes) if lanes else Released([], [])
        if go:
            whole = Run(batch, places, run.owner, failed=run.failed)
            outputs.insert(0, Output(output.topic, output.partition, whole, go))
            done.append((batch, places.copy()))  # the run may grow when it is queued
        return Released(outputs, done)

    def _sort(self, output: Output, places: list[int], go: list[Row]) -> set[Hashable]:
        """Hold rows back, or add them and their places to ``places`` and ``go``.

        Of what a record has the first result is not acknowledged, as the record is held from then
        on until its release, which is.

        Returns:
            The lanes of what is held back.
        """
        topic, partition, run, rows = output
        batch, lane_of, lanes = run.batch, self._lane_of, self._lanes
        pending, records = batch.pending, batch.records
        target = _Target(batch.serial, topic, partition, run.owner, run.failed)
        mine = self._held.get(batch.serial, {})
        again: list[int] = []
        touched = set[Hashable]()
        more_bytes = 0
        for place, row in zip(run.places, rows, strict=True):
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
        released = self._release(list(self._lanes))
        for lane in self._lanes.values():
            for held in dropwhile(lambda held: not held.left, lane):
                if held.batch.begun is not None:
                    held.batch.begun[held.place] = 0
        return released

    def _release(self, lanes: Iterable[Hashable]) -> Released:
        """The same of ``lanes``."""
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
        return self._forgotten(released) if released else Released([], [])

    def _forgotten(self, released: Sequence[_Held]) -> Released:
        """Records that are held no longer, their results put into runs."""
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
            mine = self._held[batch.serial]
            for place in some:
                del mine[place]
            if not mine:
                del self._held[batch.serial]
        self._charge(-size_bytes)
        batches = {batch.serial: batch for batch in places}
        # A lane may have records of several batches, behind another one with some of the later.
        in_order = sorted(outputs.items(), key=_serial)
        return Released(
            [
                Output(
                    target.topic,
                    target.partition,
                    Run(batches[target.serial], some, target.owner, failed=target.failed),
                    rows,
                )
                for target, (some, rows) in in_order
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


def _serial(item: tuple[_Target, object]) -> int:
    return item[0].serial
