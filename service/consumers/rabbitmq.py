"""A RabbitMQ queue as a source: messages are acknowledged when their results are durable.

The prefetch is the memory bound: the broker sends no more than that many messages beyond the
acknowledged ones.  When the connection is lost the broker gives unacknowledged messages to
somebody else, so what was in the pipeline is dropped before it is published, as after a Kafka
rebalance; what was published already comes again (at least once).
"""

import asyncio
from collections import deque
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

import aio_pika
import structlog
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import AMQPError

from service.channels import Sender
from service.clock import wall_clock_ms
from service.consumers.origins import new_origin
from service.consumers.rabbitmq_stamps import read_stamps_that_are_no_time
from service.consumers.room import send_when_there_is_room
from service.delivery.backoff import Backoff
from service.errors import ChannelClosedError
from service.events import Headers, RecordBatch, SourceRecord
from service.settings import RabbitMqSourceSettings

read_stamps_that_are_no_time()

_log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S: Final = 10.0
BATCH_RECORDS: Final = 64
"""Messages of a batch: they are acknowledged together, so a slow one holds up at most these."""
CANCELLED_S: Final = 30.0
"""What messages in hand have to be finished when the broker sends no more of their queue."""
CANCELLED_POLL_S: Final = 0.1
STABLE_S: Final = 30.0
"""A connection that lived so long starts the backoff anew."""

_LOST: Final = (AMQPError, OSError, TimeoutError, RuntimeError)


class RabbitMqBatch(RecordBatch):
    """Messages that are acknowledged when every one of them is done."""

    __slots__ = ("finished", "messages")

    messages: list[AbstractIncomingMessage]
    finished: "_Finished"

    def on_complete(self) -> None:
        """Hand the messages over to be acknowledged, unless somebody else has them by now."""
        if not self.revoked:
            self.finished.put(self)


class _Finished:
    """Batches to acknowledge on one connection."""

    def __init__(self) -> None:
        self._batches: deque[RabbitMqBatch] = deque()
        self._some = asyncio.Event()
        self._ended = False
        self.live: set[RabbitMqBatch] = set()

    def put(self, batch: RabbitMqBatch) -> None:
        self._batches.append(batch)
        self._some.set()

    def end(self) -> None:
        """Nothing more will be put."""
        self._ended = True
        self._some.set()

    async def get(self) -> RabbitMqBatch | None:
        """The next one; ``None`` when all are taken and there will be no more."""
        while not (self._batches or self._ended):
            self._some.clear()
            await self._some.wait()
        return self._batches.popleft() if self._batches else None

    def revoke(self) -> None:
        """The connection is gone: nothing of it may be published any more."""
        for batch in self.live:
            batch.closing = True
            batch.revoked = True
        self.live.clear()


class RabbitMqSource:
    """A source of one pipeline.

    Args:
        name: The source's name; stands where Kafka's records have their topic.
        settings: Which queue of which broker.
    """

    def __init__(self, name: str, settings: RabbitMqSourceSettings) -> None:
        self.name = name
        self._settings = settings
        self._partition, self._offset = new_origin()
        self._stopping = asyncio.Event()
        self._closing = asyncio.Event()
        self._closed = asyncio.Event()
        self._finished = _Finished()
        self._opening: asyncio.Timeout | None = None

    async def run(self, inbox: Sender[RecordBatch]) -> None:
        """See :meth:`service.consumers.base.Source.run`; returns after :meth:`close`."""
        try:
            async with asyncio.TaskGroup() as tasks:
                ending = tasks.create_task(self._end_intake(inbox))
                await self._live_forever(inbox)
                ending.cancel()
        finally:
            inbox.close()
            self._closed.set()

    async def _end_intake(self, inbox: Sender[RecordBatch]) -> None:
        """Let the pipeline end when intake is stopped, whatever the broker takes its time for."""
        await self._stopping.wait()
        inbox.close()
        if self._opening is not None:
            self._opening.reschedule(asyncio.get_running_loop().time())

    async def _live_forever(self, inbox: Sender[RecordBatch]) -> None:
        """One connection after the other, until intake is stopped."""
        settings = self._settings
        backoff = Backoff(initial_s=settings.reconnect_initial_s, max_s=settings.reconnect_max_s)
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began_s = loop.time()
            try:
                await self._live(inbox)
                continue
            except* _LOST as group:
                reason = repr(group.exceptions[0])
            finally:
                self._finished.revoke()
            if loop.time() - began_s > STABLE_S:
                backoff.reset()
            delay_s = backoff.next_s()
            _log.warning("queue lost", source=self.name, reason=reason, delay_s=round(delay_s, 3))
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._stopping.wait()

    def stop_intake(self) -> None:
        """See :meth:`service.consumers.base.Source.stop_intake`."""
        self._stopping.set()

    async def close(self, deadline_s: float) -> None:
        """Acknowledge what is durable and disconnect; the broker takes the rest back."""
        self._stopping.set()
        self._closing.set()
        try:
            async with asyncio.timeout(deadline_s):
                await self._closed.wait()
        except TimeoutError:
            _log.warning("the queue did not close in time", source=self.name)

    async def _live(self, inbox: Sender[RecordBatch]) -> None:
        """One connection's life."""
        address = await asyncio.to_thread(self._settings.address)
        async with AsyncExitStack() as stack:
            arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
            lost = asyncio.Event()
            cancelled = asyncio.Event()
            try:
                async with asyncio.timeout(0 if self._stopping.is_set() else None) as self._opening:
                    connection = await aio_pika.connect(address, timeout=CONNECT_TIMEOUT_S)
                    await stack.enter_async_context(connection)
                    channel = await connection.channel(publisher_confirms=False)
                    await channel.set_qos(prefetch_count=self._settings.prefetch)
                    queue = await channel.get_queue(self._settings.queue)
                    channel.close_callbacks.add(lambda *_: lost.set())
                    underlay = await channel.get_underlay_channel()
                    underlay.on_consumer_cancel_callbacks.add(lambda *_: cancelled.set())
                    finished = self._finished = _Finished()
                    tag = await queue.consume(arrived.put)
            except TimeoutError:
                if self._stopping.is_set():
                    return
                raise
            finally:
                self._opening = None
            _log.info("queue connected", source=self.name, queue=self._settings.queue)
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(_fail_when(lost))
                waiting = tasks.create_task(self._fail_when(cancelled, arrived, finished))
                acking = tasks.create_task(self._ack(finished))
                reading = tasks.create_task(self._read(arrived, finished, inbox))
                await self._stopping.wait()
                reading.cancel()
                await queue.cancel(tag)
                await self._closing.wait()
                # not cancelled: what it would leave of a batch is delivered again
                finished.end()
                await acking
                watching.cancel()
                waiting.cancel()

    async def _fail_when(
        self,
        cancelled: asyncio.Event,
        arrived: "asyncio.Queue[AbstractIncomingMessage]",
        finished: _Finished,
    ) -> None:
        """Raise once the broker has ended the consumer, as when the queue was deleted or moved.

        The channel stays open then and says nothing, so the queue would be silent for ever. What
        is in hand may be the last there is of it, and is finished first.

        Raises:
            ConnectionError: Then.
        """
        await cancelled.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCELLED_S):
                while finished.live or not arrived.empty():  # noqa: ASYNC110 -- rare
                    await asyncio.sleep(CANCELLED_POLL_S)
        raise ConnectionError("the broker has ended the consumer: the queue was deleted or moved")

    async def _read(
        self,
        arrived: "asyncio.Queue[AbstractIncomingMessage]",
        finished: _Finished,
        inbox: Sender[RecordBatch],
    ) -> None:
        """Move what arrives into the channel, as much at a time as is there."""
        while True:
            messages = [await arrived.get()]
            while len(messages) < BATCH_RECORDS and not arrived.empty():
                messages.append(arrived.get_nowait())
            batch = self._batch(messages, finished)
            finished.live.add(batch)
            try:
                await send_when_there_is_room(inbox, batch)
            except ChannelClosedError:
                self._stopping.set()
                return

    async def _ack(self, finished: _Finished) -> None:
        """Acknowledge what is durable, to the last of it."""
        while (batch := await finished.get()) is not None:
            for message in batch.messages:
                await message.ack()
            finished.live.discard(batch)

    def _batch(self, messages: list[AbstractIncomingMessage], finished: _Finished) -> RabbitMqBatch:
        records = [self._record(message) for message in messages]
        batch = RabbitMqBatch(
            self.name,
            self._partition,
            records,
            next_offset=self._offset,
            size_bytes=sum(len(record.value or b"") for record in records),
            received_at_s=asyncio.get_running_loop().time(),
        )
        batch.messages = messages
        batch.finished = finished
        return batch

    def _record(self, message: AbstractIncomingMessage) -> SourceRecord:
        stamp = message.timestamp
        record = SourceRecord(
            message.body,
            key=self._key(message),
            offset=self._offset,
            timestamp=wall_clock_ms() if stamp is None else int(stamp.timestamp() * 1000),
            headers=_headers(message),
        )
        self._offset += 1
        return record

    def _key(self, message: AbstractIncomingMessage) -> bytes | None:
        name = self._settings.key_header
        if name is None:
            return message.routing_key.encode() if message.routing_key else None
        value = message.headers.get(name)
        return None if value is None else _bytes(value)


def _headers(message: AbstractIncomingMessage) -> Headers:
    return tuple((name, _bytes(value)) for name, value in message.headers.items())


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    return b"" if value is None else str(value).encode()


async def _fail_when(lost: asyncio.Event) -> None:
    await lost.wait()
    raise ConnectionError("the channel was closed")
