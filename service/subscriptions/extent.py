"""Where a topic's log begins and ends, asked once for all who want to know at the same time."""

import asyncio
from typing import NamedTuple

from service.consumers.topic_reader import TopicReader
from service.subscriptions.positions import Positions


class Extent(NamedTuple):
    """What is stored, by partition.

    Attributes:
        beginning: First offset.
        end: One past the last.
    """

    beginning: Positions
    end: Positions


class SharedExtent:
    """Asks for the extent of one topic.

    An answer counts for those who had come before it was asked for: an older one may lie before
    what a client has got from another process.
    """

    def __init__(self) -> None:
        self._asking = asyncio.Lock()
        self._questions = 0
        self._extent: Extent | None = None

    async def ask(self, reader: TopicReader) -> Extent:
        """The extent as it is now, or was found since this call began.

        Raises:
            BrokerUnavailableError: If the broker does not answer.
        """
        begun = self._questions
        async with self._asking:
            if self._questions == begun or self._extent is None:
                self._questions += 1
                self._extent = None
                self._extent = await extent_of(reader)
            return self._extent


async def extent_of(reader: TopicReader) -> Extent:
    """Ask ``reader``.

    Raises:
        BrokerUnavailableError: If the broker does not answer.
    """
    return Extent(await reader.beginning(), await reader.end())
