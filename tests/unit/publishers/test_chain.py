"""A handler's results into batches for the next pipelines, in order and within bounds."""

import asyncio
from collections.abc import Sequence

from service.delivery.chained import ChainedBatch
from service.delivery.identity import headrace_id, id_prefix
from service.events import RecordBatch, SourceRecord
from service.publishers.chain import ChainPublisher
from service.publishers.kafka import KafkaPublisher
from service.publishers.runs import Entry, Run
from service.testing.broker import MemoryBroker
from service.testing.broker_clients import MemoryProducer
from tests.unit.publishers import owners


class Target:
    """A pipeline with a channel of a few batches."""

    def __init__(self, *, slots: int = 100, batch_records: int = 4) -> None:
        self.batch_records = batch_records
        self.max_bytes = 1000
        self.slots = slots
        self.free = asyncio.Condition()
        self.taken: list[ChainedBatch] = []

    async def opened(self) -> None:
        pass

    def try_send(self, batch: ChainedBatch) -> bool:
        if not self.slots:
            return False
        self.slots -= 1
        self.taken.append(batch)
        return True

    async def send(self, batch: ChainedBatch) -> None:
        async with self.free:
            await self.free.wait_for(lambda: self.try_send(batch))

    async def release(self, slots: int) -> None:
        async with self.free:
            self.slots += slots
            self.free.notify_all()

    @property
    def values(self) -> list[list[bytes | None]]:
        return [[record.value for record in batch.records] for batch in self.taken]


class Owner(owners.Owner):
    def __init__(self) -> None:
        super().__init__()
        self.done: list[int] = []

    def passed_on(self, run: Run) -> None:
        self.done += run.places

    def failed(self) -> None:
        pass


def batch_of(count: int, partition: int = 0) -> RecordBatch:
    records = [SourceRecord(b"raw", offset=offset, timestamp=77) for offset in range(count)]
    return RecordBatch("in", partition, records, next_offset=count)


def entry(batch: RecordBatch, place: int, number: int = 0) -> Entry:
    """Result ``number`` of a record, whose value says which it is."""
    id_ = headrace_id(id_prefix("first", "h", batch.topic, batch.partition), place, number)
    value = b"%d.%d.%d" % (batch.partition, place, number)
    return Entry(None, b"key", value, [("headrace-id", id_)], batch, place, OWNER)


OWNER = Owner()


def add_many(chain: ChainPublisher, entries: Sequence[Entry]) -> None:
    """Add entries of one batch as a run of plain results is added."""
    run = Run(entries[0].batch, [entry.place for entry in entries], OWNER)
    chain.add_run(
        chain.output,
        0,
        run,
        [(99, entry.key, entry.value, list(entry.headers)) for entry in entries],
    )


async def chain_to(
    *targets: Target, topic: str | None = None
) -> tuple[ChainPublisher, KafkaPublisher]:
    broker = MemoryBroker()
    broker.create_topic("out", 1)
    kafka = KafkaPublisher(lambda: MemoryProducer(broker))
    chain = ChainPublisher(kafka, via="first/h", topic=topic, targets=targets)
    chain.owner = OWNER
    if topic is None:
        await chain.learn(chain.output)
    return chain, kafka


async def test_results_of_one_batch_leave_together_in_order_and_others_apart() -> None:
    target = Target()
    chain, _ = await chain_to(target)
    one, other = batch_of(6), batch_of(1, partition=1)

    add_many(chain, [entry(one, place) for place in (3, 1)])
    chain.add(chain.output, 0, entry(other, 0))
    add_many(chain, [entry(one, place) for place in (0, 2, 5)])
    chain.added(urgent=False)

    assert target.values == [[b"0.3.0", b"0.1.0", b"0.0.0", b"0.2.0"], [b"1.0.0"], [b"0.5.0"]]
    assert [record.offset for record in target.taken[0].records] == [3, 1, 0, 2]
    assert target.taken[0].records[0].timestamp == 77


async def test_several_results_of_one_record_keep_their_order_and_are_told_apart() -> None:
    target = Target()
    chain, _ = await chain_to(target)
    batch = batch_of(2)

    for place in range(2):
        for number in range(2):
            chain.add(chain.output, 0, entry(batch, place, number))
    chain.added(urgent=False)

    assert target.values == [[b"0.0.0"], [b"0.0.1"], [b"0.1.0"], [b"0.1.1"]]
    assert [each.path for each in target.taken] == [
        "first/h/in",
        "first/h:1/in",
        "first/h/in",
        "first/h:1/in",
    ]


async def test_what_finds_no_room_waits_and_nothing_overtakes_it() -> None:
    target = Target(slots=1)
    chain, _ = await chain_to(target)
    batch = batch_of(9)

    for first in (0, 3, 6):
        add_many(chain, [entry(batch, first + n) for n in range(3)])
        chain.added(urgent=False)
    full = chain.full
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(chain.room()) for _ in range(2)]  # an event's, and a timer's
        await target.release(2)
        await asyncio.wait(waiting)

    assert (full, chain.full) == (True, False)
    assert [value for values in target.values for value in values] == [
        b"0.%d.0" % place for place in range(9)
    ]


async def test_a_cancelled_wait_for_room_loses_nothing() -> None:
    target = Target(slots=0)
    chain, _ = await chain_to(target)
    chain.add(chain.output, 0, entry(batch_of(1), 0))
    chain.added(urgent=False)

    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(chain.room())
        await asyncio.sleep(1)
        waiting.cancel()
    await target.release(1)
    await chain.room()

    assert target.values == [[b"0.0.0"]]


async def test_the_owner_is_told_which_results_are_done() -> None:
    OWNER.done.clear()
    target = Target()
    chain, _ = await chain_to(target)
    batch = batch_of(3)
    add_many(chain, [entry(batch, place) for place in range(3)])
    chain.added(urgent=False)

    target.taken[0].ack_many([2, 0])

    assert OWNER.done == [2, 0]
    assert list(batch.done) == [1, 0, 1]


async def test_a_result_for_two_pipelines_waits_for_both() -> None:
    first, second = Target(), Target()
    chain, _ = await chain_to(first, second)
    batch = batch_of(2)

    add_many(chain, [entry(batch, place) for place in range(2)])
    chain.added(urgent=False)
    second.taken[0].ack_many([0, 1])
    first.taken[0].ack(1)

    assert first.values == second.values == [[b"0.0.0", b"0.1.0"]]
    assert list(batch.done) == [0, 1]


async def test_a_result_for_a_topic_too_is_stored_there_and_waits_for_that() -> None:
    target = Target()
    chain, kafka = await chain_to(target, topic="out")
    batch = batch_of(1)

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(kafka.run())
        await chain.learn(chain.output)
        chain.add(chain.output, 0, entry(batch, 0))
        chain.added(urgent=True)
        target.taken[0].ack(0)
        before = batch.left
        await kafka.flush()
        running.cancel()

    assert (before, batch.left) == (1, 0)


async def test_a_chain_is_a_topic_to_the_writer_with_the_limit_of_the_channel() -> None:
    chain, kafka = await chain_to(Target())

    assert set(chain.topics) == {chain.output}
    assert chain.max_record_bytes(chain.output) == 1000
    assert chain.partition_for(chain.output, b"key", 7) == 0
    assert kafka.topics == {}
