import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import pytest

from service import Event, Result, handler
from service.errors import TransactionFailedError
from service.events import RecordBatch, SourceRecord
from service.publishers.base import BatchWriter, ProduceUnknownError, Row, TopicInfo
from service.publishers.kafka import KafkaPublisher
from service.publishers.runs import Run
from service.publishers.transactions import TransactionalPublisher
from service.testing.broker import MemoryBroker
from service.testing.broker_clients import MemoryProducer
from service.testing.broker_transactions import MemoryTransactions
from service.testing.harness import OUTPUT, Harness, pipeline_of
from tests.unit.publishers.owners import Owner

Headrace = Callable[..., Harness]


@handler("transactions.copy")
def copy(event: Event) -> dict[str, Any]:
    return {"n": event.data["n"]}


@handler("transactions.slow_copy")
async def slow_copy(event: Event) -> list[Result]:
    await asyncio.sleep(0.5)
    return [Result({"slow": event.data["n"]}), Result({"second": event.data["n"]})]


@handler("transactions.at_leisure")
async def at_leisure(event: Event) -> dict[str, Any] | None:
    """Takes as long as the event says, and has something to say of few."""
    await asyncio.sleep(event.data["takes_s"])
    return {"slow": event.data["n"]} if event.data["says"] else None


LARGE_BYTES = 10_000
begun: list[int] = []


@handler("transactions.large")
def large(event: Event) -> dict[str, Any]:
    return {"n": event.data["n"], "text": "x" * LARGE_BYTES}


@handler("transactions.held_up")
async def held_up(event: Event) -> dict[str, Any]:
    begun.append(event.data["n"])
    await asyncio.sleep(5)
    return {"n": event.data["n"]}


def _exactly_once(**handlers: Any) -> dict[str, Any]:
    config = pipeline_of(copy)
    config["pipelines"]["test"]["delivery"] = "exactly_once"
    config["pipelines"]["test"]["handlers"] = {
        name: {"use": use, "output": OUTPUT} for name, use in handlers.items()
    }
    return config


async def _send_many(service: Harness, count: int) -> None:
    for number in range(count):
        await service.send({"n": number}, key=f"k{number % 3}")


async def test_results_and_positions_appear_together(headrace: Headrace) -> None:
    async with headrace(_exactly_once(copy="transactions.copy")) as service:
        await _send_many(service, 9)
        await service.settle()

        assert sorted(output["n"] for output in service.outputs()) == list(range(9))
        assert sum(service.committed().values()) == 9


async def test_a_failed_commit_starts_over_and_shows_nothing_twice(headrace: Headrace) -> None:
    async with headrace(_exactly_once(copy="transactions.copy")) as service:
        await _send_many(service, 3)
        await service.settle()
        failing = [p for p in service.brokers.producers if isinstance(p, MemoryTransactions)]
        for producer in failing:
            _fail_next_commit(producer)
        await _send_many(service, 6)
        await service.settle()

        assert len(service.outputs()) == 9
        ids = [record.header("headrace-id") for record in service.records()]
        assert len(set(ids)) == 9


class Throttled(MemoryTransactions):
    """Of a broker that lets so many bytes a second through, of all its producers together."""

    bytes_per_s: ClassVar[float]
    free_at_s: ClassVar[float]

    async def send(self, topic: str, partition: int, batch: BatchWriter, **more: Any) -> Any:
        stored = await super().send(topic, partition, batch, **more)
        loop = asyncio.get_running_loop()
        Throttled.free_at_s = max(loop.time(), self.free_at_s) + batch.size_bytes / self.bytes_per_s
        answered: asyncio.Future[int] = loop.create_future()

        def answer() -> None:
            if not answered.done():
                answered.set_result(stored.result())

        loop.call_at(self.free_at_s, answer)
        return answered


@pytest.mark.parametrize("handlers", [["large"], ["large", "large_too"]], ids=["one", "two"])
async def test_what_a_quota_lets_through_too_slowly_goes_out_in_smaller_transactions(
    handlers: list[str],
) -> None:
    config = _exactly_once(**dict.fromkeys(handlers, "transactions.large"))
    service = Harness(config, partitions=2)
    Throttled.bytes_per_s, Throttled.free_at_s = 400_000, 0.0
    make = partial(Throttled, service.broker)
    service.brokers.transactional = make  # type: ignore[method-assign]
    async with service:
        for number in range(2_000):
            await service.send({"n": number}, key=f"k{number}")
        await service.advance(600)

        assert sorted(output["n"] for output in service.outputs()) == sorted(
            number for number in range(2_000) for _ in handlers
        )


async def test_while_transactions_are_small_what_cannot_be_decoded_is_a_dead_letter() -> None:
    service = Harness(_exactly_once(large="transactions.large"))
    Throttled.bytes_per_s, Throttled.free_at_s = 8_000, 0.0
    make = partial(Throttled, service.broker)
    service.brokers.transactional = make  # type: ignore[method-assign]
    async with service:
        for number in range(20):  # more than goes out in the time of a transaction
            await service.send({"n": number}, key=f"k{number}")
        await service.advance(22)
        await service.send(b"{", key="k")
        await service.advance(100)

        assert [letter.code for letter in service.dead_letters()] == ["decode"]
        assert service.committed() == {0: 21}
        assert len(service.outputs()) == 20


async def test_a_record_of_two_handlers_is_published_in_one_piece(headrace: Headrace) -> None:
    async with headrace(
        _exactly_once(fast="transactions.copy", slow="transactions.slow_copy")
    ) as service:
        await _send_many(service, 4)
        await service.settle()

        assert len(service.outputs()) == 12
        assert sum(service.committed().values()) == 4


@pytest.mark.parametrize(("ordering", "early"), [("none", [1]), ("key", []), ("partition", [])])
async def test_what_has_no_order_does_not_wait_behind_the_slow_handler_of_another_record(
    headrace: Headrace, ordering: str, early: list[int]
) -> None:
    config = _exactly_once(fast="transactions.copy", slow="transactions.at_leisure")
    for settings in config["pipelines"]["test"]["handlers"].values():
        settings["ordering"] = ordering
    async with headrace(config) as service:
        for number, takes_s in enumerate((3, 0)):  # neither has a key
            await service.send({"n": number, "takes_s": takes_s, "says": False})
        await service.advance(1)

        assert [output["n"] for output in service.outputs()] == early
        await service.settle()
        assert len(service.outputs()) == 2


@pytest.mark.parametrize("says", [True, False], ids=["says something", "says nothing"])
@pytest.mark.parametrize("wanted", [True, False], ids=["both by two", "the second by one"])
async def test_results_of_one_handler_keep_the_order_of_a_key_while_another_is_slow(
    headrace: Headrace, *, says: bool, wanted: bool
) -> None:
    config = _exactly_once(fast="transactions.copy", slow="transactions.at_leisure")
    if not wanted:
        config["pipelines"]["test"]["handlers"]["slow"]["where"] = {"field": "n", "equals": 0}
    async with headrace(config) as service:
        await service.send({"n": 0, "takes_s": 1, "says": says}, key="a")
        await service.send({"n": 1, "takes_s": 0, "says": True}, key="a")
        await service.send({"n": 2, "takes_s": 0, "says": True}, key="b")
        await service.advance(0.5)
        early = [output["n"] for output in service.outputs() if "n" in output]
        await service.settle()

        assert early == [2]
        assert [output["n"] for output in service.outputs() if "n" in output] == [2, 0, 1]
        assert sum(service.committed().values()) == 3


async def test_results_of_a_partition_keep_their_order_where_a_handler_asks_for_it(
    headrace: Headrace,
) -> None:
    config = _exactly_once(fast="transactions.copy", slow="transactions.at_leisure")
    handlers = config["pipelines"]["test"]["handlers"]
    handlers["fast"]["ordering"] = "partition"
    handlers["slow"]["where"] = {"field": "n", "equals": 0}
    async with headrace(config) as service:
        for n, key in enumerate("ab"):
            await service.send({"n": n, "takes_s": 1, "says": False}, key=key)
        await service.settle()

        assert [output["n"] for output in service.outputs()] == [0, 1]


def _fail_next_commit(producer: MemoryTransactions) -> None:
    async def commit() -> None:
        raise ProduceUnknownError("no answer")

    producer.commit = commit  # type: ignore[method-assign]  # this client is thrown away after it


HERE = ("in", 0)


class At(NamedTuple):
    next_offset: int
    metadata: str


class Setting:
    """One open input partition and a broker in memory."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.publisher = TransactionalPublisher(
            KafkaPublisher(lambda: MemoryProducer(self.broker)),
            lambda name: MemoryTransactions(self.broker, name),
            group="test",
        )
        self.owner = Owner()
        self.charged_bytes = 0

    def charge(self, size_bytes: int) -> None:
        self.charged_bytes += size_bytes

    async def open(self, *topics: str, max_message_bytes: int = 1_000_000) -> None:
        for topic in topics:
            self.broker.create_topic(topic, 1, max_message_bytes=max_message_bytes)
            self.publisher.topics[topic] = TopicInfo(1, max_message_bytes)
        await self.publisher.open(HERE, self.charge)

    def add(self, topic: str, batch: RecordBatch, places: Sequence[int]) -> None:
        rows: list[Row] = [(None, None, b"%d" % place, []) for place in places]
        self.publisher.add_run(topic, 0, Run(batch, list(places), self.owner), rows)

    async def commit(self, next_offset: int) -> bool:
        return await self.publisher.commit(HERE, lambda: At(next_offset, ""))

    def values(self, topic: str) -> list[bytes | None]:
        return [record.value for record in self.broker.records(topic)]


def inputs(count: int) -> RecordBatch:
    records = [SourceRecord(b"", offset=offset) for offset in range(count)]
    return RecordBatch(*HERE, records, next_offset=count)


async def test_no_two_groups_and_topics_fence_each_other() -> None:
    broker = MemoryBroker()
    ids = list[str]()

    def make(name: str) -> MemoryTransactions:
        ids.append(name)
        return MemoryTransactions(broker, name)

    for group, topic in (("orders", "raw-eu"), ("orders-raw", "eu")):
        publisher = TransactionalPublisher(
            KafkaPublisher(lambda: MemoryProducer(broker)), make, group=group
        )
        await publisher.open((topic, 0), lambda _: None)

    assert len(set(ids)) == 2


async def test_runs_go_out_in_order_and_their_owner_hears_of_it_once_a_topic() -> None:
    setting = Setting()
    await setting.open("one", "other")
    first, second = inputs(3), inputs(2)

    setting.add("one", first, [0, 1, 2])
    setting.add("other", second, [0])
    setting.add("one", second, [1])
    assert (first.left, second.left) == (0, 0)
    assert setting.values("one") == []

    assert await setting.commit(5)
    assert setting.values("one") == [b"0", b"1", b"2", b"1"]
    assert setting.values("other") == [b"0"]
    assert sorted(setting.owner.told) == [("one", 4), ("other", 1)]


async def test_what_comes_while_a_transaction_is_on_its_way_goes_into_the_next() -> None:
    setting = Setting()
    await setting.open("out")
    batch = inputs(4)
    setting.add("out", batch, [0, 1])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(setting.commit(2))
        await asyncio.sleep(0)
        setting.add("out", batch, [2, 3])

    assert setting.values("out") == [b"0", b"1"]
    assert await setting.commit(4)
    assert setting.values("out") == [b"0", b"1", b"2", b"3"]


async def test_a_transaction_that_nobody_answers_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silent(*_: object) -> asyncio.Future[int]:
        return asyncio.get_running_loop().create_future()

    setting = Setting()
    await setting.open("out")
    setting.add("out", inputs(1), [0])
    monkeypatch.setattr(MemoryTransactions, "send", silent)

    with pytest.raises(TransactionFailedError, match=r"no answer within 20 s$"):
        await setting.commit(1)


async def test_results_of_a_record_with_two_handlers_wait_for_the_last_of_them() -> None:
    setting = Setting()
    await setting.open("out")
    batch = inputs(3)
    batch.fan_out(("a", "b"))

    setting.add("out", batch, [0, 1])
    await setting.commit(0)
    assert setting.values("out") == []

    setting.add("out", batch, [0])  # both have finished with 0
    batch.ack(1)  # the other handler has nothing to add
    batch.ack_many([2, 2])
    await setting.commit(3)
    assert setting.values("out") == [b"0", b"0", b"1"]


@pytest.mark.parametrize("size_bytes", [100, 5_000])
async def test_batches_are_no_larger_than_the_topic_takes(size_bytes: int) -> None:
    setting = Setting()
    await setting.open("small", max_message_bytes=20_000)
    batch = inputs(60)
    rows: list[Row] = [(None, None, b"x" * size_bytes, []) for _ in range(60)]

    setting.publisher.add_run("small", 0, Run(batch, list(range(60)), setting.owner), rows)

    assert await setting.commit(60)
    assert len(setting.values("small")) == 60


async def test_memory_of_what_is_queued_is_bounded_and_given_back() -> None:
    setting = Setting()
    await setting.open("out")
    batch = inputs(200)
    rows: list[Row] = [(None, None, b"x" * 100_000, []) for _ in range(200)]

    setting.publisher.add_run("out", 0, Run(batch, list(range(200)), setting.owner), rows)
    setting.publisher.added(urgent=False)
    assert setting.publisher.full

    await setting.commit(200)
    assert not setting.publisher.full


async def test_memory_of_what_waits_for_another_handler_counts_as_input() -> None:
    setting = Setting()
    await setting.open("out")
    batch = inputs(3)
    batch.fan_out(("a", "b"))

    setting.add("out", batch, [0])
    one_bytes = setting.charged_bytes
    assert one_bytes > 0
    setting.add("out", batch, [1, 2])
    assert setting.charged_bytes == 3 * one_bytes

    setting.add("out", batch, [0])  # its last handler: what it adds itself never waits
    assert setting.charged_bytes == 2 * one_bytes
    batch.ack(1)  # nothing to add: seen at the next commit
    await setting.commit(2)
    assert setting.charged_bytes == one_bytes

    await setting.publisher.close([HERE])
    assert setting.charged_bytes == 0


async def test_results_that_wait_for_a_slow_handler_stop_the_reading(headrace: Headrace) -> None:
    config = _exactly_once(fast="transactions.large", slow="transactions.held_up")
    config["memory"] = {"max_bytes": 4 * LARGE_BYTES}
    fetched = ("fetch_max_bytes", "max_partition_fetch_bytes")
    config["kafka"] = {"consumer": dict.fromkeys(fetched, 4 * LARGE_BYTES)}
    begun.clear()
    async with headrace(config) as service:
        for number in range(40):
            await service.send({"n": number}, key=str(number))
            await service.advance(0.05)
        assert 2 <= len(begun) < 8  # of 40, with all of their large results
        await service.settle()

        assert len(service.outputs()) == 80
        assert sum(service.committed().values()) == 40
