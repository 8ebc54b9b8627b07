"""The publisher: what is added is sent, whatever happens to its producer meanwhile."""

import asyncio
from collections.abc import Callable

import pytest

from service.events import Permission, RecordBatch, SourceRecord
from service.publishers.base import BatchWriter, Row, TopicInfo
from service.publishers.kafka import KafkaPublisher
from service.publishers.runs import Entry, Run
from service.testing.broker import MemoryBroker
from service.testing.broker_clients import MemoryProducer
from tests.unit.publishers import owners


class Owner(owners.Owner):
    def __init__(self) -> None:
        super().__init__()
        self.lost_places: list[int] = []

    def failed(self) -> None:
        pass

    def lost(self, run: Run) -> None:
        self.lost_places += run.places


class SlowProducer(MemoryProducer):
    """Takes its time with every batch, so that there is time to add more behind it."""

    async def send(
        self,
        topic: str,
        partition: int,
        batch: BatchWriter,
        *,
        permission: Callable[[], Permission] | None = None,
    ) -> "asyncio.Future[int]":
        await asyncio.sleep(0.5)
        return await super().send(topic, partition, batch, permission=permission)


def batch_of(count: int) -> RecordBatch:
    records = [SourceRecord(b"", offset=offset) for offset in range(count)]
    return RecordBatch("in", 0, records, next_offset=count)


async def test_what_was_added_without_a_producer_is_sent_before_what_comes_after() -> None:
    broker = MemoryBroker()
    broker.create_topic("out", 1)
    producers: list[SlowProducer] = []

    def make_producer() -> SlowProducer:
        producers.append(SlowProducer(broker))
        return producers[-1]

    publisher = KafkaPublisher(make_producer)
    inputs = batch_of(4)
    entries = [Entry(None, None, b"%d" % place, [], inputs, place, Owner()) for place in range(4)]

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(publisher.run())
        await publisher.learn("out")
        broker.stop()
        producers[0].fail("gone")
        publisher.add("out", 0, entries[0])
        publisher.added(urgent=True)
        await asyncio.sleep(1.0)
        assert len(producers) > 1  # each of which has found the broker down
        run = Run(inputs, [1, 2], entries[1].owner)
        publisher.add_run("out", 0, run, [(None, None, b"%d" % place, []) for place in (1, 2)])
        broker.start()
        while publisher._producer is None:
            await asyncio.sleep(0.01)
        publisher.add("out", 0, entries[3])
        publisher.added(urgent=True)
        await publisher.flush()
        running.cancel()

    assert [record.value for record in broker.records("out")] == [b"0", b"1", b"2", b"3"]
    assert inputs.left == 0


@pytest.mark.parametrize("linger_s", [0.0, 0.005, 0.5])
async def test_a_batch_that_is_not_full_waits_for_more_as_long_as_it_was_told(
    linger_s: float,
) -> None:
    broker = MemoryBroker()
    broker.create_topic("out", 1)
    publisher = KafkaPublisher(lambda: MemoryProducer(broker), linger_s=linger_s)
    inputs = batch_of(1)
    loop = asyncio.get_running_loop()

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(publisher.run())
        await publisher.learn("out")
        began_s = loop.time()
        publisher.add("out", 0, Entry(None, None, b"0", [], inputs, 0, Owner()))
        publisher.added(urgent=False)
        while inputs.left:
            await asyncio.sleep(0.001)
        waited_s = loop.time() - began_s
        running.cancel()

    assert linger_s <= waited_s <= linger_s + 0.01


async def test_results_of_a_partition_lost_before_they_were_sent_are_dropped() -> None:
    broker = MemoryBroker()
    broker.create_topic("out", 1)
    publisher = KafkaPublisher(lambda: MemoryProducer(broker))
    lost, kept = batch_of(2), batch_of(2)
    lost.dispatched = kept.dispatched = 2
    owner = Owner()

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(publisher.run())
        await publisher.learn("out")
        for place in range(2):
            publisher.add("out", 0, Entry(None, None, b"lost", [], lost, place, owner))
            publisher.add("out", 0, Entry(None, None, b"kept", [], kept, place, Owner()))
        lost.revoked = True  # as after a pause that was longer than the session
        publisher.added(urgent=True)
        await publisher.flush()
        running.cancel()

    assert [record.value for record in broker.records("out")] == [b"kept", b"kept"]
    assert (publisher.pending, publisher._shares.size_bytes) == (0, 0)
    assert (kept.left, lost.left, lost.in_flight) == (0, 2, 0)
    assert owner.lost_places == [0, 1]


class DoubtfulBatch(RecordBatch):
    """A batch of which nobody knows whether it is still ours, until somebody does."""

    answer = Permission.WAIT

    def permission(self) -> Permission:
        return self.answer


def doubtful_batch(count: int) -> DoubtfulBatch:
    records = [SourceRecord(b"", offset=offset) for offset in range(count)]
    batch = DoubtfulBatch("in", 0, records, next_offset=count)
    batch.dispatched = count
    return batch


@pytest.mark.parametrize(
    ("answer", "stored"),
    [(Permission.GO, [b"sure", b"0", b"1", b"2"]), (Permission.NEVER, [b"sure"])],
    ids=["ours after all", "lost"],
)
async def test_results_wait_in_order_until_it_is_known_whose_they_are(
    answer: Permission, stored: list[bytes]
) -> None:
    broker = MemoryBroker()
    broker.create_topic("out", 1)
    publisher = KafkaPublisher(lambda: MemoryProducer(broker))
    doubtful, sure = doubtful_batch(3), batch_of(1)

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(publisher.run())
        await publisher.learn("out")
        for place in range(2):
            publisher.add("out", 0, Entry(None, None, b"%d" % place, [], doubtful, place, Owner()))
        publisher.add("out", 0, Entry(None, None, b"sure", [], sure, 0, Owner()))
        publisher.added(urgent=True)
        await asyncio.sleep(60.0)
        publisher.add("out", 0, Entry(None, None, b"2", [], doubtful, 2, Owner()))
        publisher.added(urgent=True)
        await asyncio.sleep(60.0)
        before = [record.value for record in broker.records("out")]
        doubtful.answer = answer
        await publisher.flush()
        running.cancel()

    assert before == [b"sure"]
    assert [record.value for record in broker.records("out")] == stored
    assert (doubtful.left, doubtful.in_flight) == ((0, 0) if answer is Permission.GO else (3, 0))
    assert (publisher.pending, publisher._shares.size_bytes) == (0, 0)


@pytest.mark.parametrize("limit_bytes", [20_000, 1_000_000], ids=["small topic", "usual topic"])
async def test_a_run_fills_as_few_batches_as_the_topic_allows(limit_bytes: int) -> None:
    broker = MemoryBroker()
    publisher = KafkaPublisher(lambda: MemoryProducer(broker))
    publisher._producer = MemoryProducer(broker)
    publisher.topics["out"] = TopicInfo(1, limit_bytes)
    inputs = batch_of(100)
    rows: list[Row] = [(None, None, b"x" * 500, []) for _ in range(100)]

    publisher.add_run("out", 0, Run(inputs, list(range(100)), Owner()), rows)

    output = publisher._outputs["out", 0]
    batches = [sealed.count for sealed in output.sealed]
    assert sum(batches) + sum(len(run.places) for run in output.runs) == 100
    assert batches == ([34, 34] if limit_bytes == 20_000 else [])


async def test_what_was_added_without_a_producer_goes_in_batches_that_its_topic_takes() -> None:
    broker = MemoryBroker()
    broker.create_topic("out", 1, max_message_bytes=20_000)
    producers: list[MemoryProducer] = []

    def make_producer() -> MemoryProducer:
        producers.append(MemoryProducer(broker))
        return producers[-1]

    publisher = KafkaPublisher(make_producer)
    publisher.topics["out"] = TopicInfo(1, 20_000)
    inputs = batch_of(1_000)
    rows: list[Row] = [(None, None, b"%500d" % place, []) for place in range(1_000)]

    publisher.add_run("out", 0, Run(inputs, list(range(1_000)), Owner()), rows)
    publisher.added(urgent=True)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(publisher.run())
        await publisher.flush()
        running.cancel()

    assert [int(record.value or b"") for record in broker.records("out")] == [*range(1_000)]
    assert len(producers) == 1
    assert inputs.left == 0
