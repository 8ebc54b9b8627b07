"""Output topics that go away, come back smaller, or refuse: nothing of it concerns the others."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from service import Event, handler
from service.events import CHUNK_BYTES, Permission, RecordBatch, SourceRecord
from service.handlers.context import HandlerContext
from service.metrics import Cause
from service.publishers.base import BatchWriter, ProduceFailedError
from service.publishers.kafka import KafkaPublisher
from service.publishers.kafka_partitioner import Partitioner
from service.publishers.runs import Entry
from service.publishers.shares import COMMON_BYTES, OWN_BYTES
from service.testing.broker import Log, MemoryBroker, Topic
from service.testing.broker_clients import MemoryProducer
from service.testing.harness import OUTPUT, Harness, pipeline_of
from tests.unit.publishers.owners import Owner

WELL = "well"
SILENT = "silent"
REFUSING = "refusing"
LARGE = "x" * 50_000


@handler("unavailable.pass")
def passed(event: Event) -> dict[str, Any]:
    return {**event.data}


@handler("unavailable.count", state=("counts",))
class Count:
    """How many events there were of each key."""

    async def open(self, context: HandlerContext) -> None:
        self._counts = context.state("counts")

    def __call__(self, event: Event) -> None:
        key = (event.key or b"").decode()
        self._counts.put(event, key, (self._counts.get(event, key) or 0) + 1)


def two_pipelines(delivery: str = "at_least_once") -> dict[str, Any]:
    """One that writes to the output, and one that writes to a topic that is always well."""
    config = pipeline_of(passed)
    ill = config["pipelines"]["test"]
    ill["delivery"] = delivery
    config["pipelines"]["well"] = {
        "sources": {"kafka": {"topics": ["well-input"], "group_id": "well"}},
        "dead_letter": "well-dead",
        "handlers": {"pass": {"use": "unavailable.pass", "output": WELL}},
    }
    return config


class Nobody(Owner):
    """Owns records whose fate is not looked at."""

    def failed(self) -> None:
        pass


NOBODY = Nobody()


class Clients:
    """Producers of which the broker refuses what is for one topic."""

    def __init__(self, service: Harness, refuses: Callable[[str], bool]) -> None:
        self.made = 0
        self._broker = service.broker
        self._refuses = refuses
        service.brokers.producer = self.producer  # type: ignore[method-assign]

    def producer(self) -> MemoryProducer:
        self.made += 1
        return Refused(self._broker, self._refuses)


class Refused(MemoryProducer):
    def __init__(self, broker: MemoryBroker, refuses: Callable[[str], bool]) -> None:
        super().__init__(broker)
        self._refuses = refuses

    async def send(
        self,
        topic: str,
        partition: int,
        batch: BatchWriter,
        *,
        permission: Callable[[], Permission] | None = None,
    ) -> "asyncio.Future[int]":
        if not self._refuses(topic):
            return await super().send(topic, partition, batch, permission=permission)
        outcome: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if topic != SILENT:
            outcome.set_exception(ProduceFailedError("not authorized"))
        return outcome


async def _send(service: Harness, topic: str, numbers: range, text: str = "") -> None:
    for number in numbers:
        await service.send({"n": number, "text": text}, topic=topic, key=f"key-{number % 20}")


def _numbers(service: Harness, topic: str) -> list[int]:
    return [value["n"] for value in service.outputs(topic)]


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("partitions", [1, 3], ids=["one", "most"])
async def test_what_waits_for_a_topic_that_comes_back_smaller_goes_where_it_belongs_now(
    delivery: str, partitions: int
) -> None:
    async with Harness(two_pipelines(delivery), partitions=4) as service:
        await _send(service, "input", range(40))
        await service.settle()
        del service.broker.topics[OUTPUT]
        await _send(service, "input", range(40, 80))
        await service.advance(30)
        await _send(service, "input", range(80, 120))
        await service.advance(30)
        service.broker.create_topic(OUTPUT, partitions)
        await _send(service, "input", range(120, 160))
        await service.advance(60)
        await service.settle()

    orders: dict[bytes | None, list[int]] = {}
    for number, log in enumerate(service.broker.topics[OUTPUT].logs):
        for record in log.records:
            assert record.key is not None
            assert number == Partitioner().partition(record.key, partitions)
    for stored, value in zip(service.records(OUTPUT), service.outputs(OUTPUT), strict=True):
        orders.setdefault(stored.key, []).append(value["n"])
    assert sorted(number for order in orders.values() for number in order) == [*range(40, 160)]
    assert all(order == sorted(order) for order in orders.values())
    assert service.lag() == 0


async def test_a_topic_that_seems_smaller_for_a_moment_is_not() -> None:
    async with Harness(two_pipelines(), partitions=4) as service:
        await _send(service, "input", range(40))
        await service.settle()
        whole = service.broker.topics[OUTPUT]
        service.broker.topics[OUTPUT] = Topic(whole.logs[:2], whole.max_message_bytes)
        await _send(service, "input", range(40, 80))
        await service.advance(4)  # a broker that is behind the others
        service.broker.topics[OUTPUT] = whole
        await service.advance(30)
        await service.settle()

    assert sorted(_numbers(service, OUTPUT)) == [*range(80)]
    assert len(service.brokers.producers) == 1
    for number, log in enumerate(whole.logs):
        for record in log.records:
            assert number == Partitioner().partition(record.key or b"", 4)


@pytest.mark.parametrize(
    ("delivery", "total"),
    [("at_least_once", 400), ("exactly_once", 10)],
)
async def test_a_pipeline_goes_on_while_the_output_of_another_is_away(
    delivery: str, total: int
) -> None:
    async with Harness(two_pipelines(delivery), partitions=2) as service:
        del service.broker.topics[OUTPUT]
        await _send(service, "input", range(total), LARGE)
        await service.advance(5)
        at_s = asyncio.get_running_loop().time()
        for first in range(0, 250, 50):
            await _send(service, "well-input", range(first, first + 50), LARGE)
            await service.advance(20)
            assert len(service.records(WELL)) == first + 50
        waiting = service.application.publisher._shares.size_bytes
        made = [p for p in service.brokers.producers if type(p) is MemoryProducer]
        assert asyncio.get_running_loop().time() - at_s == 100  # longer than a producer is stuck
        service.broker.create_topic(OUTPUT, 2)
        await service.settle()

    # and what is added before anybody looks: small batches that came together
    assert waiting <= COMMON_BYTES + OWN_BYTES + CHUNK_BYTES + len(LARGE)
    assert len(made) == 1
    assert sorted(_numbers(service, OUTPUT)) == [*range(total)]


async def test_a_topic_that_refuses_costs_the_others_a_producer_ever_more_rarely() -> None:
    refusing = True
    service = Harness(two_pipelines(), partitions=2)
    clients = Clients(service, lambda topic: refusing and topic == OUTPUT)
    async with service:
        await _send(service, "input", range(10))
        await service.advance(60)
        in_a_minute = clients.made
        await service.advance(300)
        in_five_more = clients.made - in_a_minute
        at_s = asyncio.get_running_loop().time()
        await _send(service, "well-input", range(100))
        while len(_numbers(service, WELL)) < 100:
            await asyncio.sleep(0.01)
        took_s = asyncio.get_running_loop().time() - at_s
        refusing = False
        await service.settle()

    assert in_a_minute < 12
    assert 8 <= in_five_more <= 11
    assert took_s < 1.0
    assert sorted(_numbers(service, OUTPUT)) == [*range(10)]


async def test_a_service_ends_in_time_while_its_output_is_away() -> None:
    async with Harness(two_pipelines(), partitions=2) as service:
        del service.broker.topics[OUTPUT]
        await _send(service, "input", range(10))
        await service.advance(5)
        began_s = asyncio.get_running_loop().time()
        report = await service.drain()
        took_s = asyncio.get_running_loop().time() - began_s

    assert report.unpublished == 10
    assert took_s < 15.0


async def test_changes_of_state_are_never_moved_to_another_partition() -> None:
    config = pipeline_of(Count)
    async with Harness(config, partitions=4) as service:
        (changelog,) = [name for name in service.broker.topics if "counts" in name]
        for number in range(40):
            await service.send({"n": number}, key=f"key-{number}", partition=number % 4)
        await service.settle()
        whole = service.broker.topics[changelog]
        service.broker.topics[changelog] = Topic([Log(), Log()], whole.max_message_bytes)
        for number in range(40):
            await service.send({"n": number}, key=f"key-{number}", partition=number % 4)
        await service.advance(60)
        small = [len(log.records) for log in service.broker.topics[changelog].logs]
        committed = dict(service.committed())
        service.broker.topics[changelog].logs += [Log(), Log()]  # as its owner has to
        await service.settle()

    assert small == [10, 10]
    assert committed == {0: 20, 1: 20, 2: 10, 3: 10}  # each waits for its own changes
    keys = [{record.key for record in log.records} for log in service.broker.topics[changelog].logs]
    assert keys == [{record.key for record in log.records} for log in whole.logs]


async def test_only_the_pipeline_whose_output_is_away_is_said_to_be_held_up() -> None:
    async with Harness(two_pipelines(), partitions=1) as service:
        del service.broker.topics[OUTPUT]
        await _send(service, "input", range(10))
        await _send(service, "well-input", range(10))
        await service.advance(20)
        pipelines = service.application.snapshot().pipelines
        blocking = {
            name: [partition.blocking and partition.blocking.cause for partition in each.partitions]
            for name, each in pipelines.items()
        }
        service.broker.create_topic(OUTPUT, 1)
        await service.settle()

    assert blocking == {"test": [Cause.BROKER], "well": [None]}


async def test_a_producer_is_not_kept_for_what_has_waited_for_its_answer_for_long() -> None:
    broker = MemoryBroker()
    for topic in (SILENT, REFUSING, WELL):
        broker.create_topic(topic, 1)
    publisher = KafkaPublisher(lambda: Refused(broker, lambda topic: topic != WELL))
    loop = asyncio.get_running_loop()
    inputs = RecordBatch("in", 0, [SourceRecord(b"")] * 3, next_offset=3)

    def add(topic: str, place: int) -> None:
        publisher.add(topic, 0, Entry(None, None, b"", [], inputs, place, NOBODY))
        publisher.added(urgent=True)

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(publisher.run())
        for topic in broker.topics:
            await publisher.learn(topic)
        add(SILENT, 0)
        await asyncio.sleep(30.0)
        add(REFUSING, 1)
        await asyncio.sleep(0.01)
        add(WELL, 2)
        began_s = loop.time()
        while not broker.records(WELL):
            await asyncio.sleep(0.01)
        took_s = loop.time() - began_s
        running.cancel()

    assert took_s < 1.0
