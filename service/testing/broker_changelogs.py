"""Reads changelogs of the broker in memory."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from service.consumers.base import TopicPartition
from service.errors import BrokerUnavailableError
from service.state.restore import Chunk
from service.testing.broker import MemoryBroker

CHUNK_RECORDS: Final = 500
"""Records of one chunk."""


class MemoryChangelogs:
    """A :class:`~service.state.restore.ChangelogReader` of a broker in memory.

    Args:
        broker: The broker.
    """

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    @asynccontextmanager
    async def read(
        self, topic: str, partition: int, start: int
    ) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """See :class:`~service.state.restore.ChangelogReader`."""
        if self._broker.down:
            raise BrokerUnavailableError("the broker is down")
        yield self._chunks(TopicPartition(topic, partition), start)

    async def _chunks(self, at: TopicPartition, start: int) -> AsyncGenerator[Chunk]:
        log = self._broker.log(at)
        position, end = max(start, log.start), log.end
        while position < end:
            if self._broker.down:
                raise BrokerUnavailableError("the broker is down")
            records = log.read(position, CHUNK_RECORDS)
            position = end if not records else min(end, records[-1].offset + 1)
            yield Chunk([record for record in records if record.offset < end], position, end)
