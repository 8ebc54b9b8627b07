"""Blocks of a topic's log, and how they are read and encoded."""

import asyncio
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from operator import attrgetter
from typing import Final

from service.consumers.base import OffsetGoneError
from service.consumers.topic_reader import TopicChunk, TopicReader
from service.errors import BrokerUnavailableError
from service.subscriptions.encoding import EncodedEvent, encode
from service.subscriptions.positions import Positions
from service.subscriptions.share import LoopShare
from service.where import Predicate

BEYOND_RECORDS: Final = 8192
"""Most records that are kept for the blocks after these, while another partition's are slow."""

FILTERS: Final = 32
"""Most filters that are tested while a block is read, and most whose verdicts on it are kept."""

SILENCE_S: Final = 10.0
"""Longest wait for records that are known to be stored."""

SLICE_RECORDS: Final = 64
_SLICE_S: Final = 0.005
"""Longest run of encoding and testing before the loop is let go, looked at so often."""

_OFFSET: Final = attrgetter("offset")


class Block:
    """Consecutive records of one partition.

    Args:
        events: Its events, ascending.
        passed: Those that pass a filter, by its JSON, as far as it is known.
        first_offset: See below.
        next_offset: See below.

    Attributes:
        events: Its events, ascending.
        first_offset: Its first offset; after the block's own where the log begins later by now.
        next_offset: Everything below it is here, or does not exist.
        size_bytes: What it takes of the bound.
    """

    __slots__ = ("_passed", "events", "first_offset", "next_offset", "size_bytes")

    def __init__(
        self,
        events: list[EncodedEvent],
        passed: dict[bytes, list[EncodedEvent]],
        first_offset: int,
        next_offset: int,
    ) -> None:
        self.events = events
        self.first_offset = first_offset
        self.next_offset = next_offset
        self.size_bytes = sum(event.size_bytes for event in events)
        self._passed = passed

    def passing(
        self, where: Predicate | None, where_json: bytes, *, from_offset: int
    ) -> Iterator[EncodedEvent]:
        """The events from an offset on that pass ``where``, looked at once for all who have it.

        Args:
            where: A filter; ``None`` passes everything.
            where_json: Equal for equal filters.
            from_offset: Where to begin.
        """
        passed = self.events if where is None else self._passed.get(where_json)
        if passed is None:
            passed = [event for event in self.events if where is None or where(event.data())]
            if len(self._passed) < FILTERS:
                self._passed[where_json] = passed
        return islice(passed, bisect_left(passed, from_offset, key=_OFFSET), None)


class BlockCursor:
    """A reader, where it stands, and what it has read beyond that.

    Args:
        reader: The reader.
        partitions: What it reads.
    """

    def __init__(self, reader: TopicReader, partitions: frozenset[int]) -> None:
        self.reader = reader
        self.partitions = partitions
        # From the end of the last block up to where the next record is, by partition.
        self._standing: dict[int, range] = {}
        self._beyond: list[TopicChunk] = []

    def stands_at(self, starts: Positions) -> bool:
        """Whether it goes on from ``starts`` without moving."""
        return self._standing.keys() == starts.keys() and all(
            start in self._standing[partition] for partition, start in starts.items()
        )

    async def read(self, reading: "dict[int, Reading]", share: LoopShare) -> dict[int, Block]:
        """Read these blocks, or as much of them as is stored.

        Raises:
            BrokerUnavailableError: If it cannot.
        """
        starts = {p: each.first for p, each in reading.items()}
        if not self.stands_at(starts):
            self.reader.seek(starts)
            self._beyond = []
        self._standing = {}
        runs, self._beyond = self._beyond, []
        loop = asyncio.get_running_loop()
        heard_at_s = loop.time()
        moved = False
        while True:
            await self._encode(runs, reading, share)
            moved |= self._let_go(reading)
            if runs:
                heard_at_s = loop.time()
            if all(each.complete for each in reading.values()):
                break
            if loop.time() - heard_at_s > SILENCE_S:
                raise BrokerUnavailableError("stored records do not arrive")
            try:
                runs = await self.reader.read()
            except OffsetGoneError:
                runs = []
                await self._skip_gone(reading)
        if not moved:
            self._standing = {p: range(each.stop, each.upto + 1) for p, each in reading.items()}
        return {p: each.block() for p, each in reading.items()}

    async def _encode(
        self, runs: list[TopicChunk], reading: "dict[int, Reading]", share: LoopShare
    ) -> None:
        """Sort out what was read: into the blocks, and what lies beyond them."""
        if not runs:
            return
        began_s = share.cpu_clock()
        for run in _sliced(runs):
            if share.cpu_clock() - began_s > _SLICE_S:
                await share.used(share.cpu_clock() - began_s)
                began_s = share.cpu_clock()
            beyond = reading[run.partition].take(run)
            if beyond is not None:
                self._beyond.append(beyond)
        await share.used(share.cpu_clock() - began_s)

    def _let_go(self, reading: "dict[int, Reading]") -> bool:
        """Drop what was read too early if it is too much; whether it was."""
        if sum(len(run.records) for run in self._beyond) <= BEYOND_RECORDS:
            return False
        if going_on := {p: each.upto for p, each in reading.items() if not each.complete}:
            self.reader.seek(going_on)
        self._beyond = []
        return True

    async def _skip_gone(self, reading: "dict[int, Reading]") -> None:
        """Go on where the log begins by now.

        Raises:
            BrokerUnavailableError: If that is not what is wrong: the topic was made anew.
        """
        beginning = await self.reader.beginning()
        gone = [p for p, each in reading.items() if each.upto < beginning.get(p, 0)]
        if not gone:
            raise BrokerUnavailableError("the log is not the one it was")
        for partition in gone:
            reading[partition].begin_at(beginning[partition])
        self._beyond = []
        self.reader.seek({p: each.upto for p, each in reading.items()})


class Reading:
    """A block on its way.

    Args:
        start: Its first offset.
        stop: One past its last.
        until: How far the partition is known to be stored.
        filters: Tested on every value, by their JSON.

    Attributes:
        first: First offset that is in the log.
        stop: One past its last.
        upto: Everything below it has been read.
    """

    def __init__(
        self, start: int, stop: int, until: int, filters: Mapping[bytes, Predicate]
    ) -> None:
        self.first = start
        self.stop = stop
        self.upto = start
        self._enough = min(self.stop, until)
        self._events: list[EncodedEvent] = []
        self._filters = dict(filters)
        self._passed: dict[bytes, list[EncodedEvent]] = {name: [] for name in filters}

    @property
    def complete(self) -> bool:
        """Whether all of it, or all of it that is known to be stored, has been read."""
        return self.upto >= self._enough

    def begin_at(self, offset: int) -> None:
        """What was read and what comes before ``offset`` is gone."""
        self.first = self.upto = offset
        self._events = []
        self._passed = {name: [] for name in self._filters}

    def take(self, run: TopicChunk) -> TopicChunk | None:
        """Add what belongs to this block; returns what lies beyond it."""
        if self.upto >= self.stop:
            return run
        records = run.records
        for place, record in enumerate(records):
            if record.offset >= self.stop:
                self.upto = record.offset  # there is nothing between
                return TopicChunk(run.partition, records[place:], run.next_offset)
            event, data = encode(run.partition, record)
            self._events.append(event)
            for where_json, where in self._filters.items():
                if where(data):
                    self._passed[where_json].append(event)
        self.upto = run.next_offset
        return None

    def block(self) -> Block:
        """What has been read."""
        return Block(self._events, self._passed, self.first, self.upto)


def _sliced(runs: Iterable[TopicChunk]) -> Iterator[TopicChunk]:
    """``runs`` in small pieces."""
    for partition, records, next_offset in runs:
        for end in range(SLICE_RECORDS, len(records), SLICE_RECORDS):
            yield TopicChunk(partition, records[end - SLICE_RECORDS : end], records[end].offset)
        rest = (len(records) - 1) // SLICE_RECORDS * SLICE_RECORDS if records else 0
        yield TopicChunk(partition, records[rest:], next_offset)
