"""The readers of dashboards' topics on a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer

from service.consumers import kafka_reader
from service.consumers.base import OffsetGoneError
from service.consumers.kafka_reader import KafkaReader, KafkaReaders
from service.consumers.topic_reader import TopicChunk, UnknownTopicError
from service.errors import BrokerUnavailableError
from service.subscriptions.hub import SubscriptionHub
from service.subscriptions.positions import FromEarliest, FromOffsets, Start
from service.subscriptions.protocol import Subscribe
from tests.edge.fakes import FakePeer
from tests.kafka.client import Kafka

pytestmark = pytest.mark.integration


def readers(bootstrap: str) -> KafkaReaders:
    return KafkaReaders(lambda: {"bootstrap_servers": bootstrap})


@asynccontextmanager
async def reading(kafka: Kafka, topic: str) -> AsyncIterator[KafkaReader]:
    reader = await readers(kafka.bootstrap).open(topic)
    try:
        yield reader
    finally:
        await reader.close()


async def read_until(reader: KafkaReader, end: dict[int, int]) -> list[TopicChunk]:
    runs: list[TopicChunk] = []
    seen: dict[int, int] = {}
    async with asyncio.timeout(20):
        while any(seen.get(p, 0) < last for p, last in end.items()):
            for run in await reader.read():
                runs.append(run)
                seen[run.partition] = run.next_offset
    return runs


async def test_every_record_is_read_once_from_where_it_was_asked(kafka: Kafka) -> None:
    topic = await kafka.create_topic(kafka.unique("alerts"), partitions=2)
    for partition in (0, 1):
        await kafka.produce(topic, [(b"k", b"%d" % n) for n in range(700)], partition=partition)
    async with reading(kafka, topic) as reader:
        beginning, end = await reader.beginning(), await reader.end()
        reader.seek({0: 0, 1: 650})
        runs = await read_until(reader, end)

    assert (beginning, end) == ({0: 0, 1: 0}, {0: 700, 1: 700})
    offsets = {
        p: [record.offset for run in runs if run.partition == p for record in run.records]
        for p in (0, 1)
    }
    assert offsets == {0: list(range(700)), 1: list(range(650, 700))}


async def test_only_the_partitions_that_are_named_are_read(kafka: Kafka) -> None:
    topic = await kafka.create_topic(kafka.unique("alerts"), partitions=3)
    for partition in range(3):
        await kafka.produce(topic, [(b"k", b"%d" % n) for n in range(700)], partition=partition)
    async with reading(kafka, topic) as reader:
        await asyncio.sleep(1)  # the client has time to miss a position
        runs: list[TopicChunk] = []
        for wanted in ({0: 600, 1: 600}, {1: 650}, {2: 0, 1: 690}, {0: 699, 1: 699, 2: 699}):
            reader.seek(wanted)
            found = await read_until(reader, dict.fromkeys(wanted, 700))
            assert {run.partition for run in found} == wanted.keys()
            runs += found

    offsets = {
        p: [record.offset for run in runs if run.partition == p for record in run.records]
        for p in range(3)
    }
    assert offsets == {
        0: [*range(600, 700), 699],
        1: [*range(600, 700), *range(650, 700), *range(690, 700), 699],
        2: [*range(700), 699],
    }


async def test_a_reader_that_was_idle_is_not_taken_for_silent(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_reader, "QUIET_S", 2 * kafka_reader.POLL_S)
    topic = await kafka.create_topic(kafka.unique("alerts"))
    await kafka.produce(topic, [(None, b"1")])
    async with reading(kafka, topic) as reader:
        asked = 0
        ask = reader.end

        async def end() -> dict[int, int]:
            nonlocal asked
            asked += 1
            return await ask()

        monkeypatch.setattr(reader, "end", end)
        await asyncio.sleep(3 * kafka_reader.POLL_S)
        reader.seek({0: 1})
        assert await reader.read() == []
        assert not asked  # whether there should have been something
        while not asked:
            assert await reader.read() == []


async def test_a_timestamp_finds_its_offset_and_a_late_one_the_end(kafka: Kafka) -> None:
    topic = await kafka.create_topic(kafka.unique("alerts"))
    await kafka.produce(topic, [(None, b"1"), (None, b"2")])
    first, *_ = await kafka.consume(topic)
    async with reading(kafka, topic) as reader:
        from_first = await reader.at_timestamp(first.timestamp_ms)
        from_never = await reader.at_timestamp(first.timestamp_ms + 10**9)

    assert (from_first, from_never) == ({0: 0}, {0: 2})


async def test_a_topic_that_does_not_exist_is_not_created_by_asking(kafka: Kafka) -> None:
    name = kafka.unique("nowhere")

    for _ in range(2):
        with pytest.raises(UnknownTopicError):
            await readers(kafka.bootstrap).open(name)


async def test_a_broker_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(BrokerUnavailableError):
        await readers("127.0.0.1:1").open("alerts")


async def test_aborted_records_stay_unseen_and_markers_are_passed(kafka: Kafka) -> None:
    topic = await kafka.create_topic(kafka.unique("alerts"))
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap, transactional_id=kafka.unique("tx")
    )
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send(topic, b"committed")
        await producer.begin_transaction()
        await producer.send(topic, b"aborted")
        await producer.flush()
        await producer.abort_transaction()
    finally:
        await producer.stop()
    async with reading(kafka, topic) as reader:
        end = await reader.end()
        reader.seek({0: 0})
        runs = await read_until(reader, end)

    assert [record.value for run in runs for record in run.records] == [b"committed"]
    assert runs[-1].next_offset == end[0] == 4


async def test_a_position_that_was_removed_is_said(kafka: Kafka) -> None:
    topic = await kafka.create_topic(kafka.unique("alerts"))
    await kafka.produce(topic, [(None, b"1")])
    async with reading(kafka, topic) as reader:
        reader.seek({0: 99})
        with pytest.raises(OffsetGoneError, match="out of range"):
            await read_until(reader, {0: 100})


async def test_who_watches_a_topic_that_is_deleted_is_told_and_can_watch_the_next_one(
    kafka: Kafka,
) -> None:
    topic = await kafka.create_topic(kafka.unique("alerts"))
    await kafka.produce(topic, [(None, b"1"), (None, b"2")])
    hub = SubscriptionHub(readers(kafka.bootstrap))
    peer, again = FakePeer(), FakePeer()

    def wish(start: Start) -> Subscribe:
        return Subscribe(
            id_json=b"1", topic=topic, start=start, where=None, where_json=b"null", overflow=None
        )

    async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
        hub.start(tasks)
        hub.subscribe(peer, wish(FromEarliest()))
        while not peer.values():
            await asyncio.sleep(0.02)
        await kafka.delete_topic(topic)
        while not peer.heard("error"):
            await asyncio.sleep(0.02)
        async with Kafka(kafka.bootstrap) as anew:  # whose producer has not written to the old one
            await anew.create_topic(topic)
            await anew.produce(topic, [(None, b"3")])
        while not again.values():
            hub.subscribe(again, wish(FromOffsets({0: 2})))
            await asyncio.sleep(0.2)
        hub.stop()

    assert [error["code"] for error in peer.heard("error")] == ["unknown_topic"]
    assert again.heard("gap")[0]["dropped"] == 0
    assert again.values()[0] == 3


async def test_the_hub_joins_history_and_present_on_a_real_broker(kafka: Kafka) -> None:
    topic = await kafka.create_topic(kafka.unique("alerts"), partitions=2)
    await kafka.produce(topic, [(b"%d" % n, b'{"n":%d}' % n) for n in range(12_000)])
    hub = SubscriptionHub(readers(kafka.bootstrap))
    first, second = FakePeer(), FakePeer()
    wish = Subscribe(
        id_json=b"1",
        topic=topic,
        start=FromEarliest(),
        where=None,
        where_json=b"null",
        overflow=None,
    )
    async with asyncio.TaskGroup() as tasks:
        hub.start(tasks)
        subscription = hub.subscribe(first, wish)
        await kafka.produce(topic, [(b"%d" % n, b'{"n":%d}' % n) for n in range(12_000, 13_000)])
        async with asyncio.timeout(40):
            while len(first.values()) < 13_000:
                await asyncio.sleep(0.2)
        hub.unsubscribe(subscription)
        await kafka.produce(topic, [(b"%d" % n, b'{"n":%d}' % n) for n in range(13_000, 13_100)])
        resume = {int(p): offset for p, offset in first.next().items()}
        hub.subscribe(
            second,
            Subscribe(
                id_json=b"1",
                topic=topic,
                start=FromOffsets(resume),
                where=None,
                where_json=b"null",
                overflow=None,
            ),
        )
        async with asyncio.timeout(20):
            while len(second.values()) < 100:
                await asyncio.sleep(0.1)
        hub.stop()

    numbers = [value["n"] for value in first.values() + second.values()]
    assert sorted(numbers) == list(range(13_100))
    assert first.heard("gap") == second.heard("gap") == []
