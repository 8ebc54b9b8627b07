"""One suite, two brokers: what the service relies on is the same in memory and on Apache Kafka."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any

import pytest

from service.consumers.base import (
    CommitRefusedError,
    CommittedOffset,
    ConsumerClient,
    OffsetGoneError,
    TopicPartition,
)
from service.consumers.kafka_client import KafkaConsumerClient
from service.events import Record
from service.publishers.base import ProduceFailedError, ProducerClient
from service.publishers.kafka_client import KafkaProducerClient
from service.settings import KafkaSettings
from service.testing.broker import MemoryBroker
from service.testing.broker_clients import MemoryConsumer, MemoryProducer
from tests.kafka.client import Kafka

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


class _Broker:
    """Either broker: a fresh topic and group, and clients for them."""

    topic: str
    group: str

    def consumer(self) -> ConsumerClient:
        raise NotImplementedError

    def producer(self) -> ProducerClient:
        raise NotImplementedError


class _InMemory(_Broker):
    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.topic, self.group = "t", "g"
        self.broker.create_topic(self.topic, 2)

    def consumer(self) -> ConsumerClient:
        return MemoryConsumer(self.broker, [self.topic], self.group)

    def producer(self) -> ProducerClient:
        return MemoryProducer(self.broker)


class _OnKafka(_Broker):
    def __init__(self, kafka: Kafka, topic: str) -> None:
        self.topic, self.group = topic, kafka.unique("group")
        self._connection = {"bootstrap_servers": kafka.bootstrap}
        self._settings = KafkaSettings()

    def consumer(self) -> ConsumerClient:
        options = {**self._settings.consumer_options(), **self._connection}
        return KafkaConsumerClient([self.topic], self.group, options)

    def producer(self) -> ProducerClient:
        options = {**self._settings.producer_options(), **self._connection}
        return KafkaProducerClient(options, self._connection)


class _Listener:
    def __init__(self) -> None:
        self.assigned: frozenset[TopicPartition] = frozenset()
        self.revoked: list[frozenset[TopicPartition]] = []

    async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        self.revoked.append(frozenset(partitions))

    def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        self.assigned = frozenset(TopicPartition(*partition) for partition in partitions)


@pytest.fixture(params=["memory", "kafka"])
async def broker(request: pytest.FixtureRequest, kafka: Kafka) -> _Broker:
    if request.param == "memory":
        return _InMemory()
    topic = kafka.unique("contract")
    await kafka.create_topic(topic, 2)
    return _OnKafka(kafka, topic)


Join = Callable[[], Awaitable[tuple[ConsumerClient, _Listener]]]


@pytest.fixture
async def join(broker: _Broker) -> AsyncIterator[Join]:
    started: list[ConsumerClient] = []

    async def start() -> tuple[ConsumerClient, _Listener]:
        client, listener = broker.consumer(), _Listener()
        await client.start(listener)
        started.append(client)
        return client, listener

    yield start
    for client in started:
        await client.stop()


@pytest.fixture
async def send(broker: _Broker) -> AsyncIterator[Callable[..., Awaitable[int]]]:
    producer = broker.producer()
    await producer.start()

    async def send_(partition: int, *values: bytes) -> int:
        batch = producer.new_batch()
        for value in values:
            assert batch.append(1_700_000_000_000, b"key", value, [("h", b"v")])
        return await (await producer.send(broker.topic, partition, batch))

    yield send_
    await producer.stop(5.0)


async def _read(client: ConsumerClient, at: TopicPartition, count: int) -> Sequence[Record]:
    records: list[Record] = []
    async with asyncio.timeout(20):
        while len(records) < count:
            for fetched in client.take([at]):
                for batch in fetched.batches:
                    records += [r for r in batch.decode() if r.offset >= fetched.position]
            await client.wait(0.1)
    return records


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.05)


async def test_what_is_produced_is_read_from_the_position_sought(
    broker: _Broker, join: Join, send: Any
) -> None:
    assert await send(0, b"a", b"b") == 0
    assert await send(0, b"c") == 2
    client, listener = await join()
    await _until(lambda: len(listener.assigned) == 2)
    at = TopicPartition(broker.topic, 0)

    client.seek(at, 1)
    records = await _read(client, at, 2)

    assert [(r.offset, r.key, r.value) for r in records] == [(1, b"key", b"b"), (2, b"key", b"c")]
    assert [tuple(header) for header in records[0].headers] == [("h", b"v")]
    assert records[0].timestamp == 1_700_000_000_000
    assert client.end_offset_seen(at) == client.readable_end_seen(at) == 3


async def test_commits_are_kept_with_their_metadata(broker: _Broker, join: Join) -> None:
    client, listener = await join()
    await _until(lambda: len(listener.assigned) == 2)
    at, other = TopicPartition(broker.topic, 0), TopicPartition(broker.topic, 1)
    assert await client.committed([at, other]) == {}

    await client.commit({at: CommittedOffset(7, "note")})

    assert await client.committed([at, other]) == {at: CommittedOffset(7, "note")}


async def test_ends_and_beginnings_are_those_of_the_log(
    broker: _Broker, join: Join, send: Any
) -> None:
    await send(1, b"a", b"b")
    client, _ = await join()
    both = [TopicPartition(broker.topic, number) for number in (0, 1)]

    assert await client.beginning_offsets(both) == dict.fromkeys(both, 0)
    assert await client.end_offsets(both) == {both[0]: 0, both[1]: 2}


async def test_a_position_beyond_the_log_is_gone(broker: _Broker, join: Join) -> None:
    client, listener = await join()
    await _until(lambda: len(listener.assigned) == 2)
    at = TopicPartition(broker.topic, 0)
    client.seek(at, 99)

    with pytest.raises(OffsetGoneError) as caught:
        await _read(client, at, 1)

    assert (caught.value.partition, caught.value.position) == (at, 99)


async def test_a_second_member_takes_its_share_after_a_revoke(join: Join) -> None:
    _, first = await join()
    await _until(lambda: len(first.assigned) == 2)
    everything = first.assigned

    second_client, second = await join()
    await _until(lambda: len(first.assigned) == len(second.assigned) == 1)

    assert everything in first.revoked
    assert first.assigned | second.assigned == everything
    await second_client.stop()
    await _until(lambda: first.assigned == everything)


async def test_a_partition_of_somebody_else_cannot_be_committed(join: Join) -> None:
    client, listener = await join()
    await _until(lambda: len(listener.assigned) == 2)
    at = TopicPartition("somebody-elses-topic", 0)

    with pytest.raises(CommitRefusedError):
        await client.commit({at: CommittedOffset(1)})


async def test_a_batch_beyond_the_limit_is_refused_for_its_size(
    broker: _Broker, join: Join
) -> None:
    del join
    producer = broker.producer()
    await producer.start()
    info = await producer.topic_info(broker.topic)
    batch = producer.new_batch()
    assert batch.append(None, None, b"x" * (info.max_message_bytes + 100), [])

    with pytest.raises(ProduceFailedError) as caught:
        await (await producer.send(broker.topic, 0, batch))

    assert info.partitions == 2
    assert caught.value.too_large
    await producer.stop(5.0)


async def test_a_producer_knows_of_the_topics_that_it_has_asked_for(broker: _Broker) -> None:
    producer = broker.producer()
    began_s = asyncio.get_running_loop().time()
    await producer.start()

    before = producer.partitions(broker.topic)
    await producer.find(broker.topic)

    assert before in {None, 2}  # a broker may have told of all topics, as it is asked at the start
    assert producer.partitions(broker.topic) == 2
    assert producer.partitions("no-such-topic") is None
    assert producer.heard_s >= began_s
    await producer.stop(5.0)
