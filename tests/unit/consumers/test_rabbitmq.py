"""What is acknowledged to RabbitMQ, and in which order; the rest is tested with a real one."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from struct import pack
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from aio_pika.abc import AbstractIncomingMessage
from pamqp import commands, frame
from pamqp.header import ContentHeader
from pydantic import SecretStr

from service.channels import Overflow, channel
from service.consumers.rabbitmq import RabbitMqBatch, RabbitMqSource, _Finished, _headers
from service.events import RecordBatch, SourceRecord
from service.settings import RabbitMqSourceSettings


def durable(finished: _Finished) -> RabbitMqBatch:
    batch = RabbitMqBatch("queue", 0, [SourceRecord(b"")], next_offset=1)
    batch.messages = []
    batch.finished = finished
    finished.live.add(batch)
    batch.ack(0)
    return batch


async def test_all_that_is_durable_is_handed_out_before_the_end() -> None:
    finished = _Finished()
    batches = [durable(finished) for _ in range(3)]
    finished.end()

    assert [await finished.get() for _ in range(4)] == [*batches, None]


async def test_who_waits_for_more_hears_of_the_end() -> None:
    finished = _Finished()

    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(finished.get())
        await asyncio.sleep(1)
        finished.end()

    assert waiting.result() is None


async def test_what_a_lost_connection_delivered_is_not_acknowledged_on_the_next() -> None:
    finished = _Finished()
    batch = RabbitMqBatch("queue", 0, [SourceRecord(b"")], next_offset=1)
    batch.finished = finished
    finished.live.add(batch)

    finished.revoke()
    batch.ack(0)
    finished.end()

    assert await finished.get() is None


def message(body: bytes) -> AbstractIncomingMessage:
    fields = SimpleNamespace(body=body, headers={}, routing_key="", timestamp=None)
    return cast("AbstractIncomingMessage", fields)


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_a_full_channel_makes_the_queue_wait_whatever_it_does_to_others(
    overflow: Overflow,
) -> None:
    sender, inbox = channel[RecordBatch](1, overflow=overflow)
    settings = RabbitMqSourceSettings(url=SecretStr("amqp://localhost"), queue="queue")
    source = RabbitMqSource("queue", settings)
    arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    with sender, inbox:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(source._read(arrived, _Finished(), sender))
            for body in (b"1", b"2", b"3"):
                arrived.put_nowait(message(body))
                await asyncio.sleep(1)
            batches = [await inbox.recv() for _ in range(2)]
            reading.cancel()

    bodies = [record.value for batch in batches for record in batch.records]
    assert bodies == [b"1", b"2"]


class HungBroker:
    """Answers everything up to a step, and from there on nothing."""

    def __init__(self, hangs_at: str) -> None:
        self._hangs_at = hangs_at
        self.reached = asyncio.Event()
        self.consumed = asyncio.Event()
        self.close_callbacks: set[Any] = set()
        self.on_consumer_cancel_callbacks: set[Any] = set()

    async def _step(self, name: str) -> Self:
        if name == "consume":
            self.consumed.set()
        if name == self._hangs_at:
            self.reached.set()
            await asyncio.Event().wait()
        return self

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Self]]:
        return lambda *_, **__: self._step(name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._step("close")


@pytest.mark.parametrize("hangs_at", ["connect", "get_queue", "cancel"])
async def test_a_broker_that_hangs_does_not_hold_up_the_end_of_intake(
    hangs_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = HungBroker(hangs_at)
    monkeypatch.setattr("service.consumers.rabbitmq.aio_pika", broker)
    sender, inbox = channel[RecordBatch](1)
    settings = RabbitMqSourceSettings(url=SecretStr("amqp://localhost"), queue="queue")
    source = RabbitMqSource("queue", settings)
    loop = asyncio.get_running_loop()

    with sender, inbox:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(source.run(sender))
            if hangs_at == "cancel":
                await broker.consumed.wait()
                await asyncio.sleep(0)  # lets the source begin to wait for the end
            else:
                await broker.reached.wait()
            began_s = loop.time()
            source.stop_intake()
            left = [batch async for batch in inbox]
            ended_s = loop.time()
            running.cancel()

    assert left == []
    assert ended_s == began_s


@pytest.mark.parametrize(
    "stamp", [1_795_905_402_960_123, 1_795_905_402_960_123_456, 2**64 - 1], ids=["us", "ns", "most"]
)
def test_a_time_that_is_none_leaves_its_message_without_a_time(stamp: int) -> None:
    second = datetime(2026, 1, 1, tzinfo=UTC)
    properties = commands.Basic.Properties(timestamp=second, headers={"at": second})
    sent = frame.marshal(ContentHeader(0, 7, properties), 1)

    sent = sent.replace(pack(">Q", int(second.timestamp())), pack(">Q", stamp))
    _, _, received = frame.unmarshal(sent)

    assert isinstance(received, ContentHeader)
    assert (received.properties.timestamp, received.body_size) == (None, 7)
    assert received.properties.headers == {"at": None}


def test_headers_of_bytes_are_those_bytes() -> None:
    headers = {"b": bytearray(b"\xff\x00"), "n": 1, "none": None, "t": "é"}
    received = cast("AbstractIncomingMessage", SimpleNamespace(headers=headers))

    assert _headers(received) == (
        ("b", b"\xff\x00"), ("n", b"1"), ("none", b""), ("t", "é".encode()),
    )  # fmt: skip
