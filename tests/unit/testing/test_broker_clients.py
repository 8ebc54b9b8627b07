import asyncio
from collections.abc import Collection

import pytest

from service.consumers.base import (
    ClientFailedError,
    CommitRefusedError,
    CommittedOffset,
    CorruptBatchError,
    OffsetGoneError,
    TopicPartition,
)
from service.errors import BrokerUnavailableError
from service.publishers.base import ProduceFailedError, ProduceUnknownError, TopicInfo
from service.testing.broker import MemoryBroker
from service.testing.broker_clients import (
    BATCH_LIMIT_BYTES,
    MemoryBatchWriter,
    MemoryConsumer,
    MemoryProducer,
)

_AT = TopicPartition("t", 0)


class _Silent:
    async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        del partitions

    def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        del partitions


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker()
    broker.create_topic("t", max_message_bytes=1000)
    return broker


@pytest.fixture
async def consumer(broker: MemoryBroker) -> MemoryConsumer:
    consumer = MemoryConsumer(broker, ["t"], "g")
    await consumer.start(_Silent())
    return consumer


@pytest.fixture
async def producer(broker: MemoryBroker) -> MemoryProducer:
    producer = MemoryProducer(broker)
    await producer.start()
    return producer


def _values(consumer: MemoryConsumer) -> list[bytes | None]:
    return [
        record.value
        for fetched in consumer.take([_AT])
        for batch in fetched.batches
        for record in batch.decode()
    ]


async def test_nothing_is_fetched_before_a_seek_and_each_record_once_after(
    broker: MemoryBroker, consumer: MemoryConsumer
) -> None:
    for value in (b"a", b"b", b"c"):
        broker.produce("t", value)
    assert consumer.take([_AT]) == []

    consumer.seek(_AT, 1)

    assert _values(consumer) == [b"b", b"c"]
    assert consumer.take([_AT]) == []
    assert consumer.end_offset_seen(_AT) == consumer.readable_end_seen(_AT) == 3


async def test_a_fetch_covers_the_holes_behind_it(
    broker: MemoryBroker, consumer: MemoryConsumer
) -> None:
    broker.produce("t", b"a")
    broker.skip("t", 0, 4)
    consumer.seek(_AT, 0)

    (fetched,) = consumer.take([_AT])

    assert fetched.batches[-1].next_offset == 5
    assert fetched.batches[0].size_bytes > 0


async def test_a_corrupt_batch_takes_no_neighbour_with_it(
    broker: MemoryBroker, consumer: MemoryConsumer
) -> None:
    for value in (b"a", b"b", b"c"):
        broker.produce("t", value)
    broker.corrupt("t", 0, 1)
    consumer.seek(_AT, 0)

    assert _values(consumer) == [b"a"]
    with pytest.raises(CorruptBatchError) as caught:
        _values(consumer)
    assert (caught.value.first_offset, caught.value.next_offset) == (1, 2)
    assert _values(consumer) == [b"c"]


@pytest.mark.parametrize("position", [0, 9], ids=["truncated", "beyond the end"])
async def test_a_position_outside_the_log_is_gone(
    broker: MemoryBroker, consumer: MemoryConsumer, position: int
) -> None:
    broker.produce("t", b"a")
    broker.produce("t", b"b")
    broker.truncate("t", 0, 1)
    consumer.seek(_AT, position)

    with pytest.raises(OffsetGoneError):
        consumer.take([_AT])


async def test_commits_are_kept_with_their_metadata(
    broker: MemoryBroker, consumer: MemoryConsumer
) -> None:
    assert await consumer.committed([_AT]) == {}

    await consumer.commit({_AT: CommittedOffset(4, "more")})

    assert await consumer.committed([_AT]) == {_AT: CommittedOffset(4, "more")}
    assert broker.commits[-1].offset.next_offset == 4


async def test_commits_of_a_stranger_are_refused(
    broker: MemoryBroker, consumer: MemoryConsumer
) -> None:
    with pytest.raises(CommitRefusedError):
        await consumer.commit({TopicPartition("other", 0): CommittedOffset(1)})
    broker.expire("g")
    with pytest.raises(CommitRefusedError):
        await consumer.commit({_AT: CommittedOffset(1)})
    assert consumer.health().generation == -1


async def test_a_commit_can_be_made_to_fail(broker: MemoryBroker, consumer: MemoryConsumer) -> None:
    broker.commit_faults.append(BrokerUnavailableError("lost"))

    with pytest.raises(BrokerUnavailableError):
        await consumer.commit({_AT: CommittedOffset(1)})
    await consumer.commit({_AT: CommittedOffset(1)})


async def test_a_broker_that_is_down_answers_nothing(
    broker: MemoryBroker, consumer: MemoryConsumer
) -> None:
    broker.produce("t", b"a")
    consumer.seek(_AT, 0)
    broker.stop()
    await asyncio.sleep(9)

    assert consumer.take([_AT]) == []
    assert consumer.health().last_heartbeat_at_s == 0.0
    for call in (consumer.committed, consumer.beginning_offsets, consumer.end_offsets):
        with pytest.raises(BrokerUnavailableError):
            await call([_AT])
    with pytest.raises(BrokerUnavailableError):
        await MemoryConsumer(broker, ["t"], "g").start(_Silent())

    broker.start()
    assert _values(consumer) == [b"a"]
    assert consumer.health().last_heartbeat_at_s == 9.0


async def test_a_broken_client_says_so(consumer: MemoryConsumer, producer: MemoryProducer) -> None:
    consumer.fail("broken")
    producer.fail("broken")

    with pytest.raises(ClientFailedError, match="broken"):
        consumer.take([_AT])
    assert consumer.health().failed == "broken"
    assert producer.failed() == "broken"


async def _send(producer: MemoryProducer, *values: bytes) -> int:
    batch = producer.new_batch()
    for value in values:
        assert batch.append(5, b"k", value, [("h", b"v")])
    return await (await producer.send("t", 0, batch))


async def test_batches_are_stored_in_the_order_of_their_calls(
    broker: MemoryBroker, producer: MemoryProducer
) -> None:
    assert await _send(producer, b"a", b"b") == 0
    assert await _send(producer, b"c") == 2

    records = broker.records("t")
    assert [record.value for record in records] == [b"a", b"b", b"c"]
    assert (records[0].timestamp, records[0].key, records[0].header("h")) == (5, b"k", b"v")


async def test_an_answer_takes_as_long_as_the_broker_wants(
    broker: MemoryBroker, producer: MemoryProducer
) -> None:
    broker.produce_delay_s = 2.0

    await _send(producer, b"a")

    assert asyncio.get_running_loop().time() == 2.0


async def test_a_batch_waits_for_a_broker_that_is_down(
    broker: MemoryBroker, producer: MemoryProducer
) -> None:
    broker.stop()
    asyncio.get_running_loop().call_later(5, broker.start)

    assert await _send(producer, b"a") == 0
    assert asyncio.get_running_loop().time() >= 5.0


async def test_a_batch_beyond_the_topics_limit_is_too_large(
    broker: MemoryBroker, producer: MemoryProducer
) -> None:
    with pytest.raises(ProduceFailedError) as caught:
        await _send(producer, b"x" * 2000)

    assert caught.value.too_large
    assert broker.records("t") == []


async def test_a_refused_batch_is_not_stored_and_a_lost_answer_is(
    broker: MemoryBroker, producer: MemoryProducer
) -> None:
    broker.produce_faults.extend([ProduceFailedError("no"), ProduceUnknownError("lost")])

    with pytest.raises(ProduceFailedError):
        await _send(producer, b"a")
    with pytest.raises(ProduceUnknownError):
        await _send(producer, b"b")

    assert [record.value for record in broker.records("t")] == [b"b"]


def test_a_batch_that_is_full_takes_nothing_more() -> None:
    batch = MemoryBatchWriter()
    assert batch.append(None, None, b"x" * BATCH_LIMIT_BYTES, ())

    assert not batch.append(None, None, b"x", ())
    assert batch.count == 1


async def test_a_topic_says_what_it_takes(producer: MemoryProducer) -> None:
    assert await producer.topic_info("t") == TopicInfo(1, 1000)
    with pytest.raises(BrokerUnavailableError):
        await producer.topic_info("unknown")


async def test_a_closed_producer_takes_nothing(producer: MemoryProducer) -> None:
    await producer.stop(1.0)

    with pytest.raises(ProduceFailedError, match="closed"):
        await _send(producer, b"a")
    assert producer.failed() == "closed"
