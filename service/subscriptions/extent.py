"""Where a topic's log begins and ends, asked once for all who want to know at the same time."""

import asyncio
from typing import TypeAlias

from service.consumers.topic_reader import TopicReader
from service.subscriptions.positions import Positions

Extent: TypeAlias = tuple[Positions, Positions]
"""First offset by partition, and one past the last."""


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
                self._extent = await reader.beginning(), await reader.end()
            return self._extent
