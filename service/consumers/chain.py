"""Another pipeline of this process as a source: its results come by channel.

Nothing is stored in between and nothing is acknowledged here: the batches that come carry the
acknowledgement of the records that the results were made of.  Intake ends when the other
pipeline has ended, so a drain goes down the chain in order.
"""

import asyncio
from typing import Final

from service.channels import Sender
from service.clock import loop_time_s
from service.delivery.chained import ChainedBatch
from service.errors import ChannelClosedError, ChannelFullError
from service.events import RecordBatch
from service.metrics import PipelineCounters

BATCH_RECORDS: Final = 1024
"""Most results of a batch, like a source's."""


class ChainSource:
    """A source of one pipeline, and what another pipeline's handlers send their results to.

    Args:
        name: The source's name.
        capacity: Most records in the channel of the pipeline that it feeds.
        max_bytes: Most bytes there.
        counters: Of that pipeline.

    Attributes:
        batch_records: Most results of a batch.
        max_bytes: Largest result.
    """

    def __init__(
        self, name: str, *, capacity: int, max_bytes: int, counters: PipelineCounters
    ) -> None:
        self.name = name
        self.batch_records = min(BATCH_RECORDS, capacity)
        self.max_bytes = max_bytes
        self._counters = counters
        self._inbox: Sender[RecordBatch] | None = None
        self._opened = asyncio.Event()
        self._ended = asyncio.Event()
        self._sending = 0
        self._idle = asyncio.Event()
        self._idle.set()

    # -- Source ----------------------------------------------------------------------------

    async def run(self, inbox: Sender[RecordBatch]) -> None:
        """See :meth:`service.consumers.base.Source.run`; returns after :meth:`end`."""
        with inbox:
            self._inbox = inbox
            self._opened.set()
            await self._ended.wait()
            await self._idle.wait()  # what waits for room was accepted

    def stop_intake(self) -> None:
        """See :meth:`service.consumers.base.Source.stop_intake`: the other pipeline ends first."""

    async def close(self, deadline_s: float) -> None:
        """See :meth:`service.consumers.base.Source.close`: there is nothing to commit here."""

    def end(self) -> None:
        """The other pipeline has ended: nothing more will be sent."""
        self._ended.set()

    # -- what the other pipeline sends ------------------------------------------------------

    async def opened(self) -> None:
        """See :class:`service.publishers.chain.ChainTarget`."""
        await self._opened.wait()

    def try_send(self, batch: ChainedBatch) -> bool:
        """See :class:`service.publishers.chain.ChainTarget`."""
        inbox = self._open_inbox()
        if inbox is None:
            return True
        try:
            inbox.try_send(batch)
        except ChannelFullError:
            return False
        except ChannelClosedError:
            return True
        return True

    async def send(self, batch: ChainedBatch) -> None:
        """See :class:`service.publishers.chain.ChainTarget`."""
        inbox = self._open_inbox()
        if inbox is None:
            return
        began_s = loop_time_s()
        self._sending += 1
        self._idle.clear()
        try:
            await inbox.send(batch)
        except ChannelClosedError:
            return
        finally:
            self._sending -= 1
            if not self._sending:
                self._idle.set()
        self._counters.backpressure_s += loop_time_s() - began_s

    def _open_inbox(self) -> Sender[RecordBatch] | None:
        """Where batches go; nowhere after the end, and what comes then is never acknowledged."""
        return None if self._ended.is_set() else self._inbox
