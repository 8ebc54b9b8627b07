"""Whoever makes a Kafka client that lives on has it pause between its questions."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient

from service.consumers import kafka_changelog, kafka_client, kafka_reader
from service.errors import BrokerUnavailableError
from service.publishers import kafka_client as producer_client

NOBODY = {"bootstrap_servers": "127.0.0.1:1"}


async def _consumer() -> None:
    listener: Any = object()
    client = kafka_client.KafkaConsumerClient(["logs"], "group", NOBODY)
    try:
        await client.start(listener)
    finally:
        await client.stop()


async def _producer() -> None:
    await producer_client.KafkaProducerClient(NOBODY, NOBODY).start()


async def _changelog() -> None:
    async with kafka_changelog.KafkaChangelogs(lambda: NOBODY).read("changelog", 0, 0):
        pass


async def _reader() -> None:
    await kafka_reader.KafkaReaders(lambda: NOBODY).open("alerts")


@pytest.mark.real_loops
@pytest.mark.parametrize(
    ("module", "start"),
    [
        (kafka_client, _consumer),
        (producer_client, _producer),
        (kafka_changelog, _changelog),
        (kafka_reader, _reader),
    ],
)
async def test_it_is_told_to_pause(
    monkeypatch: pytest.MonkeyPatch, module: Any, start: Callable[[], Awaitable[None]]
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(module, "pause_between_questions", told.append)

    with pytest.raises(BrokerUnavailableError):
        await start()

    assert [type(client) for client in told] == [AIOKafkaClient]
