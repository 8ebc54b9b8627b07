"""What is done about the Kafka client wherever one is made."""

from collections.abc import Awaitable, Callable
from typing import Any

import aiokafka.client
import pytest
from aiokafka import codec
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.record._crecords import default_records

from service.cli.kafka_tools import kafka_tools
from service.consumers import (
    kafka_changelog,
    kafka_client,
    kafka_decompress,
    kafka_making,
    kafka_reader,
)
from service.errors import BrokerUnavailableError
from service.publishers import kafka_client as producer_client
from service.settings import build_settings

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


async def _command() -> None:
    async with kafka_tools(build_settings({"kafka": NOBODY}).kafka) as tools:
        await tools.partitions_of("logs")


async def _reading_command() -> None:
    async with kafka_tools(build_settings({"kafka": NOBODY}).kafka) as tools:
        await tools.offsets_at("logs", 0, {0: 0})


@pytest.mark.real_loops
@pytest.mark.parametrize(
    ("module", "start"),
    [
        (kafka_making, _consumer),
        (producer_client, _producer),
        (kafka_making, _changelog),
        (kafka_making, _reader),
        (kafka_making, _reading_command),
    ],
)
async def test_one_that_lives_on_is_told_to_pause_between_its_questions(
    monkeypatch: pytest.MonkeyPatch, module: Any, start: Callable[[], Awaitable[None]]
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(module, "pause_between_questions", told.append)

    with pytest.raises(BrokerUnavailableError):
        await start()

    assert [type(client) for client in told] == [AIOKafkaClient]


@pytest.mark.real_loops
@pytest.mark.parametrize("start", [_consumer, _producer, _changelog, _reader, _command])
async def test_before_it_asks_it_is_kept_from_making_topics(
    monkeypatch: pytest.MonkeyPatch, start: Callable[[], Awaitable[None]]
) -> None:
    monkeypatch.setattr(aiokafka.client, "MetadataRequest", MetadataRequest)

    with pytest.raises(BrokerUnavailableError):
        await start()

    assert aiokafka.client.MetadataRequest is not MetadataRequest


@pytest.mark.real_loops
@pytest.mark.parametrize("start", [_consumer, _changelog, _reader, _reading_command])
async def test_one_that_reads_has_a_bound_on_what_a_batch_unpacks_to(
    monkeypatch: pytest.MonkeyPatch, start: Callable[[], Awaitable[None]]
) -> None:
    monkeypatch.setattr(default_records, "gzip_decode", codec.gzip_decode)

    with pytest.raises(BrokerUnavailableError):
        await start()

    assert default_records.gzip_decode is kafka_decompress.gzip_decode
