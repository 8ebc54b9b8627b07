"""One pipeline: the road from a channel of record batches to published results.

Read :meth:`Pipeline.run`: it is the whole of it.  A pipeline with one handler is one stream
expression; with several, the normalized events fan out to a branch per handler, each with a
channel, an order and a limit of its own, so that a slow handler does not hold up a quick one
until its channel is full.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from service.channels import Receiver, Sender, channel
from service.dispatch import Dispatcher, Normalize, lane_of
from service.errors import FatalError
from service.events import CHUNK_BYTES, CHUNK_RECORDS, EventBatch, RecordBatch
from service.publishers.results import ResultWriter
from service.streams import Stream, WeighedStream

T = TypeVar("T")

PREPARE_POLL_S: Final = 0.1
PLAIN_LIMIT: Final = 4096
"""Slots of a plain function: its outcomes are ready at once and pass through in whole lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One handler's part of a pipeline.

    Attributes:
        dispatcher: Events to outcomes.
        writer: Outcomes to records.
        limit: Most calls in flight.
    """

    dispatcher: Dispatcher
    writer: ResultWriter
    limit: int

    async def run(self, events: Stream[EventBatch], *, max_waiting: int) -> None:
        """Handle and publish ``events`` until they end.

        Raises:
            FatalError: If a plain function has cancelled this task: the pipeline would stop without
                a word, and its lag would grow.
        """
        plain = not self.dispatcher.handler.is_async
        try:
            await (
                events.map_chunks(self.dispatcher.handle)
                .buffer_unordered(
                    max(self.limit, PLAIN_LIMIT) if plain else self.limit,
                    ordered_by=lane_of,
                    max_waiting=max_waiting,
                    eager=self.dispatcher.calls.eager,
                    lanes=self.dispatcher.lanes,
                )
                .for_each_chunk(self.writer.publish)
            )
        except asyncio.CancelledError:
            if self.dispatcher.cancelled_its_task:
                name = self.dispatcher.name
                raise FatalError(f"handler {name} has cancelled the task of its pipeline") from None
            raise


async def none_cancelled(tasks: Collection["asyncio.Task[None]"]) -> None:
    """Watch tasks of one task group from another task of it, until they have ended.

    A group takes the cancellation of a task for the wish of whoever owns it.  A plain function
    knows the task that it runs in, and so does a timer that it has set: the pipeline would stop
    without a word, and its lag would grow.

    Raises:
        FatalError: If one of ``tasks`` was cancelled, and this one was not.
    """
    left: Collection[asyncio.Task[None]] = tasks
    while left:
        ended, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            if task.cancelled():
                name = task.get_name()
                raise FatalError(f"{name} was cancelled by a handler, or by what one has started")


def _size_bytes(events: EventBatch) -> int:
    return events.batch.size_bytes


def _small_together(receiver: Receiver[T]) -> Stream[T]:
    """What a channel brings, batch by batch; small batches that are there already at once."""
    return WeighedStream(receiver, slots=CHUNK_RECORDS, size_bytes=CHUNK_BYTES)


class Pipeline:
    """A normalizer, its handlers, and the channel in front of them.

    Args:
        name: Its name in the configuration.
        inbox: Receiving end of the channel that the sources fill.
        normalize: Record batches to event batches.
        branches: One per handler; at least one.
        capacity: Most records that wait in front of a handler.
    """

    def __init__(
        self,
        name: str,
        inbox: Receiver[RecordBatch],
        *,
        normalize: Normalize,
        branches: Sequence[Branch],
        capacity: int,
    ) -> None:
        self.name = name
        self.inbox = inbox
        self._normalize = normalize
        self.branches = branches
        self._capacity = capacity
        self.refilter()

    def refilter(self) -> None:
        """Take notice of the handlers' filters; to be called when any of them has changed."""
        self._normalize.preselect([branch.dispatcher.where for branch in self.branches])

    @property
    def in_flight(self) -> int:
        """Records under way, of sources that do not count: any but Kafka."""
        return self._normalize.in_flight

    async def _prepared(self) -> bool:
        """Find out about the output topics; false if the channel ends empty before we know.

        So a service that is told to stop while it still waits for its broker stops at once.
        """

        async def prepare() -> None:
            for branch in self.branches:
                await branch.writer.prepare()
                if branch.dispatcher.changelog is not None:
                    await branch.dispatcher.changelog.prepare()

        async with asyncio.TaskGroup() as tasks:
            preparing = tasks.create_task(prepare())
            while not preparing.done() and not self.inbox.is_finished:
                await asyncio.wait((preparing,), timeout=PREPARE_POLL_S)
            known = preparing.done()
            preparing.cancel()
        return known

    async def run(self) -> None:
        """Process until every sender of the channel is gone and the channel is empty.

        Cancel safety: a cancelled run has dropped what was in the channel; nothing that was
        dropped is acknowledged.
        """
        if not await self._prepared():
            return
        events = _small_together(self.inbox).map_chunks(self._normalize)
        if len(self.branches) == 1:
            await self.branches[0].run(events, max_waiting=self._capacity)
            return
        async with asyncio.TaskGroup() as tasks:
            senders: list[Sender[EventBatch]] = []
            running: list[asyncio.Task[None]] = []
            for branch in self.branches:
                sender, receiver = channel(self._capacity, items_of=len, bytes_of=_size_bytes)
                senders.append(sender)
                work = branch.run(_small_together(receiver), max_waiting=self._capacity)
                name = f"pipeline {self.name}, handler {branch.dispatcher.name}"
                running.append(tasks.create_task(work, name=name))
            tasks.create_task(none_cancelled(running), name="watch handlers")

            async def fan_out(chunk: list[EventBatch]) -> None:
                for sender in senders:
                    await sender.send_many(chunk)

            await events.for_each_chunk(fan_out)
            for sender in senders:
                sender.close()
