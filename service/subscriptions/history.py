"""What is stored of a topic, read and encoded once for all who catch up from it at the same time.

A thousand dashboards that come back after a restart have missed the same records.  Each with a
reader of its own would read them a thousand times, and on a busy topic fall further behind while
it waits for its turn than it catches up when it has it.  So the log is read in blocks, aligned
by offset: whoever needs a block first reads it, the others wait for it, and who comes a little
later finds it.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog

from service.consumers.topic_reader import ReaderFactory
from service.subscriptions.blocks import FILTERS, Block, BlockCursor, Reading
from service.subscriptions.positions import Positions
from service.subscriptions.share import LoopShare
from service.where import Predicate

_log = structlog.get_logger(__name__)

BLOCK_OFFSETS: Final = 1024
"""Offsets of one partition in a block."""

READERS: Final = 2
"""Idle readers of a topic from which on one of them moves, and loses what it has fetched ahead."""


class History:
    """The log of one topic, while somebody reads it.

    Args:
        topic: Its name.
        readers: Opens readers of it.
        share: What encoding may take of the loop.
        turns: Bounds the readers that read at once, over all topics.
        max_bytes: Most bytes of blocks that are kept.
        block_offsets: Offsets of one partition in a block; :data:`BLOCK_OFFSETS` if not given.
    """

    def __init__(
        self,
        topic: str,
        readers: ReaderFactory,
        *,
        share: LoopShare,
        turns: asyncio.Semaphore,
        max_bytes: int,
        block_offsets: int | None = None,
    ) -> None:
        self._topic = topic
        self._block_offsets = block_offsets or BLOCK_OFFSETS
        self._readers = readers
        self._share = share
        self._turns = turns
        self._max_bytes = max_bytes
        self._bytes = 0
        self._blocks: OrderedDict[tuple[int, int], Block] = OrderedDict()  # least recent first
        self._loading: dict[tuple[int, int], asyncio.Future[None]] = {}
        self._idle: list[BlockCursor] = []
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
                async with AsyncExitStack() as closing:  # all of them, also when cancelled
                    for cursor in cursors:
                        closing.push_async_callback(cursor.reader.close)

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
        filters = {name: self._filters[name] for name, _ in self._filter_users.most_common(FILTERS)}
        cursor = await self._cursor(starts)
        try:
            blocks = await cursor.read(
                {p: Reading(start, start + size, until[p], filters) for p, start in starts.items()},
                self._share,
            )
        except BaseException:
            await cursor.reader.close()  # nobody knows where it is
            raise
        self._idle.append(cursor)
        return blocks

    async def _cursor(self, starts: Positions) -> "BlockCursor":
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
            return BlockCursor(reader, frozenset(await reader.beginning()))
        except BaseException:
            await reader.close()
            raise
