"""Results that belong to no event: timers of handlers, published like any others."""

import asyncio
from collections.abc import Callable, Sequence

from service.clock import wall_clock_ms
from service.events import Outcome, RecordBatch, Result, SourceRecord
from service.publishers.results import ResultWriter


class _Emission(RecordBatch):
    """A batch of one made-up record, whose completion is awaited."""

    __slots__ = ("durable",)

    durable: "asyncio.Future[None]"

    def on_complete(self) -> None:
        if not self.durable.done():
            self.durable.set_result(None)


class Emitter:
    """Publishes a handler's own results.

    Args:
        writer: The handler's writer.
        name: Stands for the input topic in the results' ids.
        now_ms: Stands for the offset there, so that ids never repeat.
    """

    def __init__(
        self, writer: ResultWriter, name: str, now_ms: Callable[[], int] = wall_clock_ms
    ) -> None:
        self._writer = writer
        self._name = name
        self._now_ms = now_ms
        self._last = 0

    async def emit(self, results: Sequence[Result]) -> None:
        """Publish ``results``; returns when they are durable.

        Cancel safety: what was queued is published all the same.
        """
        if not results:
            return
        self._last = max(self._last + 1, self._now_ms())
        record = SourceRecord(None, offset=self._last)
        batch = _Emission(self._name, 0, (record,), next_offset=self._last + 1)
        batch.durable = asyncio.get_running_loop().create_future()
        waiting = self._writer.publish([Outcome(batch, 0, results)])
        if waiting is not None:
            await waiting
        await batch.durable
