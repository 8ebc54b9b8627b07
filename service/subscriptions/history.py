"""What is stored of a topic, read and encoded once for all who catch up from it at the same time.

A thousand dashboards that come back after a restart have missed the same records.  Each with a
reader of its own would read them a thousand times, and on a busy topic fall further behind while
it waits for its turn than it catches up when it has it.  So the log is read in blocks, aligned
by offset: whoever needs a block first reads it, the others wait for it, and who comes a little
later finds it.
"""

import asyncio
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import islice
from operator import attrgetter
from typing import Final

import structlog

from service.consumers.base import OffsetGoneError
from service.consumers.topic_reader import ReaderFactory, Run, TopicReader
from service.errors import BrokerUnavailableError
from service.subscriptions.encoding import EncodedEvent, encode
from service.subscriptions.positions import Positions
from service.subscriptions.share import LoopShare
from service.where import Predicate

_log = structlog.get_logger(__name__)

BLOCK_OFFSETS: Final = 1024
"""Offsets of one partition in a block."""

READERS: Final = 2
"""Idle readers of a topic from which on one of them moves, and loses what it has fetched ahead."""

BEYOND_RECORDS: Final = 8 * BLOCK_OFFSETS
"""Most records that are kept for the blocks after these, while another partition's are slow."""

FILTERS: Final = 32
"""Most filters whose verdicts on a block are kept; of those in use when it is read, all are."""

SILENCE_S: Final = 10.0
"""Longest wait for records that are known to be stored."""

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


class History:
    """The log of one topic, while somebody reads it.

    Args:
        topic: Its name.
        readers: Opens readers of it.
        share: What encoding may take of the loop.
        turns: Bounds the readers that read at once, over all topics.
        max_bytes: Most bytes of blocks that are kept.
        block_offsets: Offsets of one partition in a block.
    """

    def __init__(
        self,
        topic: str,
        readers: ReaderFactory,
        *,
        share: LoopShare,
        turns: asyncio.Semaphore,
        max_bytes: int,
        block_offsets: int = BLOCK_OFFSETS,
    ) -> None:
        self._topic = topic
        self._block_offsets = block_offsets
        self._readers = readers
        self._share = share
        self._turns = turns
        self._max_bytes = max_bytes
        self._bytes = 0
        self._blocks: OrderedDict[tuple[int, int], Block] = OrderedDict()  # least recent first
        self._loading: dict[tuple[int, int], asyncio.Future[None]] = {}
        self._idle: list[_Cursor] = []
        self._users = 0
        self._filters: dict[bytes, Predicate] = {}
        self._filter_users: Counter[bytes] = Counter()

    @asynccontextmanager
    async def used(self, filters: Mapping[bytes, Predicate]) -> AsyncGenerator[None]:
        """While this is open blocks are kept; afterwards nothing is, unless somebody else reads.

        Args:
            filters: Filters by their JSON: tested while a block is read, when its values are
                decoded anyway.
        """
        self._users += 1
        self._filters.update(filters)
        self._filter_users.update(filters.keys())
        try:
            yield
        finally:
            self._users -= 1
            for where_json in filters:
                self._filter_users[where_json] -= 1
                if not self._filter_users[where_json]:
                    del self._filter_users[where_json], self._filters[where_json]
            if not self._users:
                self._blocks.clear()
                self._bytes = 0
                cursors, self._idle = self._idle, []
                for cursor in cursors:
                    await cursor.reader.close()

    async def read(self, positions: Positions, until: Mapping[int, int]) -> dict[int, Block]:
        """Blocks that hold ``positions``: of every partition, or of those that are here already.

        Args:
            positions: Where to read, by partition; at least one.
            until: How far each partition is known to be stored; above its position.

        Cancel safety: a cancelled call has changed nothing; others that wait for the same blocks
        read them.

        Raises:
            BrokerUnavailableError: If the topic cannot be read.
            UnknownTopicError: If it is gone.
        """
        while True:
            found: dict[int, Block] = {}
            for partition, position in positions.items():
                at = partition, position // self._block_offsets
                block = self._blocks.get(at)
                if block is not None and position < block.next_offset:
                    self._blocks.move_to_end(at)
                    found[partition] = block
            if found:
                return found
            places = {p: position // self._block_offsets for p, position in positions.items()}
            under_way = [f for at in places.items() if (f := self._loading.get(at)) is not None]
            if under_way:
                await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for loading in under_way:
                    if loading.done() and (error := loading.exception()) is not None:
                        raise error
                continue
            return await self._load(places, until)

    async def _load(self, places: dict[int, int], until: Mapping[int, int]) -> dict[int, Block]:
        """Read the blocks at ``places``, for all who wait for one of them."""
        loading: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for at in places.items():
            self._loading[at] = loading
        try:
            async with self._turns:
                blocks = await self._read(places, until)
        except Exception as error:
            _log.warning("history cannot be read", topic=self._topic, reason=str(error))
            loading.set_exception(error)
            loading.exception()  # perhaps nobody waits
            raise
        else:
            for partition, block in blocks.items():
                self._keep((partition, places[partition]), block)
        finally:
            for at in places.items():
                del self._loading[at]
            if not loading.done():
                loading.set_result(None)  # read, or cancelled: whoever waits looks again
        return blocks

    def _keep(self, at: tuple[int, int], block: Block) -> None:
        if (stale := self._blocks.pop(at, None)) is not None:
            self._bytes -= stale.size_bytes
        self._blocks[at] = block
        self._bytes += block.size_bytes
        while self._bytes > self._max_bytes and len(self._blocks) > 1:
            self._bytes -= self._blocks.popitem(last=False)[1].size_bytes

    async def _read(self, places: dict[int, int], until: Mapping[int, int]) -> dict[int, Block]:
        size = self._block_offsets
        starts = {p: number * size for p, number in places.items()}
        cursor = await self._cursor(starts)
        try:
            blocks = await cursor.read(
                {
                    p: _Reading(start, start + size, until[p], self._filters)
                    for p, start in starts.items()
                },
                self._share,
            )
        except BaseException:
            await cursor.reader.close()  # nobody knows where it is
            raise
        self._idle.append(cursor)
        return blocks

    async def _cursor(self, starts: Positions) -> "_Cursor":
        """The idle reader that stands there already, else a new one, or one that has to move."""
        for cursor in self._idle:
            if cursor.stands_at(starts):
                self._idle.remove(cursor)
                return cursor
        if len(self._idle) >= READERS:
            cursor = self._idle.pop(0)
            if cursor.partitions >= starts.keys():
                return cursor
            await cursor.reader.close()  # opened before partitions were added
        reader = await self._readers.open(self._topic)
        try:
            return _Cursor(reader, frozenset(await reader.beginning()))
        except BaseException:
            await reader.close()
            raise


class _Cursor:
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
        self._beyond: list[Run] = []

    def stands_at(self, starts: Positions) -> bool:
        """Whether it goes on from ``starts`` without moving."""
        return self._standing.keys() == starts.keys() and all(
            start in self._standing[partition] for partition, start in starts.items()
        )

    async def read(self, reading: "dict[int, _Reading]", share: LoopShare) -> dict[int, Block]:
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
            began_s = share.cpu_clock()
            moved |= self._take(runs, reading)
            if runs:
                heard_at_s = loop.time()
                await share.used(share.cpu_clock() - began_s)
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

    def _take(self, runs: list[Run], reading: "dict[int, _Reading]") -> bool:
        """Sort out what was read; true if too much of it was too early and was let go."""
        for run in runs:
            beyond = reading[run.partition].take(run)
            if beyond is not None:
                self._beyond.append(beyond)
        if sum(len(run.records) for run in self._beyond) <= BEYOND_RECORDS:
            return False
        if going_on := {p: each.upto for p, each in reading.items() if not each.complete}:
            self.reader.seek(going_on)
        self._beyond = []
        return True

    async def _skip_gone(self, reading: "dict[int, _Reading]") -> None:
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


class _Reading:
    """A block on its way.

    Args:
        start: Its first offset.
        stop: One past its last.
        until: How far the partition is known to be stored.
        filters: Who wants to know what passes, by their JSON.
    """

    def __init__(
        self, start: int, stop: int, until: int, filters: Mapping[bytes, Predicate]
    ) -> None:
        self.first = start
        self.stop = stop
        self.upto = start  # everything below it has been read
        self._enough = min(self.stop, until)
        self._events: list[EncodedEvent] = []
        self._filters = dict(filters)
        self._passed: dict[bytes, list[EncodedEvent]] = {name: [] for name in filters}

    @property
    def complete(self) -> bool:
        return self.upto >= self._enough

    def begin_at(self, offset: int) -> None:
        """What was read and what comes before ``offset`` is gone."""
        self.first = self.upto = offset
        self._events = []
        self._passed = {name: [] for name in self._filters}

    def take(self, run: Run) -> Run | None:
        """Add what belongs to this block; returns what lies beyond it."""
        if self.upto >= self.stop:
            return run
        records = run.records
        for place, record in enumerate(records):
            if record.offset >= self.stop:
                self.upto = record.offset  # there is nothing between
                return Run(run.partition, records[place:], run.next_offset)
            event, data = encode(run.partition, record)
            self._events.append(event)
            for where_json, where in self._filters.items():
                if where(data):
                    self._passed[where_json].append(event)
        self.upto = run.next_offset
        return None

    def block(self) -> Block:
        return Block(self._events, self._passed, self.first, self.upto)
