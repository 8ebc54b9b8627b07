"""What a reader of dashboards makes of what its client has fetched."""

import asyncio
from collections.abc import Collection, Iterable
from typing import Any

import pytest
from aiokafka import TopicPartition as ClientPartition
from aiokafka.consumer.fetcher import FetchError
from aiokafka.errors import TopicAuthorizationFailedError

from service.consumers import kafka_reader
from service.consumers.kafka_reader import KafkaReader
from service.consumers.topic_reader import TopicChunk
from service.errors import BrokerUnavailableError
from tests.unit.consumers.test_kafka_runs import undecodable
from tests.unit.consumers.test_kafka_tap import Client, batch


class Consumer(Client):
    """A client of a topic with one partition."""

    def __init__(self) -> None:
        super().__init__()
        self.partitions: set[int] | None = {0}
        self._fetcher._create_fetch_waiter = asyncio.get_running_loop().create_future

    async def start(self) -> None:
        """Nothing to connect to."""

    async def topics(self) -> Collection[str]:
        return {"logs"}

    def partitions_for_topic(self, topic: str) -> Collection[int] | None:
        assert topic == "logs"
        return self.partitions

    def assign(self, partitions: Iterable[ClientPartition]) -> None:
        """It has only one."""

    def pause(self, *partitions: ClientPartition) -> None:
        """It reads nothing by itself."""

    def seek(self, partition: ClientPartition, position: int) -> None:
        self._fetcher._records.pop(partition, None)
        self.position = position


@pytest.fixture
async def consumer() -> Consumer:
    return Consumer()


@pytest.fixture
async def reader(consumer: Consumer) -> KafkaReader:
    client: Any = consumer
    made = KafkaReader(client, "logs")
    await made.connect()
    return made


async def test_a_topic_outgrows_its_reader_when_it_gets_partitions(
    consumer: Consumer, reader: KafkaReader
) -> None:
    outgrown: list[bool] = []
    for partitions in ({0}, None, set[int](), {0, 1}):
        consumer.partitions = partitions
        outgrown.append(reader.outgrown)

    assert outgrown == [False, False, False, True]


def values_of(runs: Iterable[TopicChunk]) -> list[bytes | None]:
    return [record.value for run in runs for record in run.records]


async def test_a_batch_that_cannot_be_decoded_does_not_end_what_dashboards_see(
    consumer: Consumer, reader: KafkaReader
) -> None:
    reader.seek({0: 0})
    consumer.fetched(batch(0, [b"a", b"b"]), undecodable(2), batch(4, [b"c", b"d"]))

    (run,) = await reader.read()

    assert values_of([run]) == [b"a", b"b", b"c", b"d"]
    assert (run.partition, run.next_offset) == (0, 6)


async def test_a_batch_with_a_wrong_checksum_is_read_twice_and_then_left_behind(
    consumer: Consumer, reader: KafkaReader
) -> None:
    damaged = bytearray(batch(2, [b"x", b"y"]))
    damaged[-1] ^= 1
    log = (batch(0, [b"a", b"b"]), bytes(damaged), batch(4, [b"c", b"d"]))
    reader.seek({0: 0})
    runs: list[TopicChunk] = []

    for left in (0, 1, 2):  # each answer begins where the one before has come to
        consumer.fetched(*log[left:], position=consumer.position)
        runs += await reader.read()

    assert values_of(runs) == [b"a", b"b", b"c", b"d"]
    assert runs[-1].next_offset == 6


async def test_a_topic_that_may_not_be_read_makes_its_reader_useless(
    consumer: Consumer, reader: KafkaReader
) -> None:
    reader.seek({0: 0})
    error = TopicAuthorizationFailedError("logs")
    consumer._fetcher._records[ClientPartition("logs", 0)] = FetchError(error=error, backoff=0.0)

    with pytest.raises(BrokerUnavailableError, match="not allowed to read logs"):
        await reader.read()


async def test_what_lies_before_the_position_in_its_batch_is_not_read(
    consumer: Consumer, reader: KafkaReader
) -> None:
    reader.seek({0: 1})
    consumer.fetched(batch(0, [b"a", b"b"]), position=1)

    assert values_of(await reader.read()) == [b"b"]


async def test_a_large_batch_comes_in_several_reads(
    consumer: Consumer, reader: KafkaReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_reader, "MAX_RECORDS", 2)
    reader.seek({0: 0})
    consumer.fetched(batch(0, [b"a", b"b", b"c", b"d", b"e"]), batch(5, [b"f"]))

    reads = [await reader.read() for _ in range(4)]

    assert [values_of(runs) for runs in reads] == [[b"a", b"b"], [b"c", b"d"], [b"e", b"f"], []]
    assert [runs[0].next_offset for runs in reads[:3]] == [2, 4, 6]


async def test_what_was_fetched_before_a_seek_is_not_read_after_it(
    consumer: Consumer, reader: KafkaReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_reader, "MAX_RECORDS", 1)
    reader.seek({0: 0})
    consumer.fetched(batch(0, [b"a", b"b"]))
    await reader.read()

    reader.seek({0: 7})
    consumer.fetched(batch(7, [b"c"]), position=7)

    assert values_of(await reader.read()) == [b"c"]
