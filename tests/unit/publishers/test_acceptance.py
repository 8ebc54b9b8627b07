"""What a topic takes from nobody becomes a dead letter before it is sent, whatever goes along."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from service import Event, Result, clock, handler
from service.clock import wall_clock_ms
from service.errors import PermanentError
from service.events import RecordBatch, SourceRecord
from service.publishers.base import LONGEST_MS, BatchWriter, ProduceFailedError, TopicInfo
from service.publishers.encoding import check_acceptable
from service.publishers.kafka import KafkaPublisher
from service.publishers.kafka_settings import DEFAULT_MAX_MESSAGE_BYTES, described
from service.publishers.runs import Run
from service.testing.broker import MemoryBroker
from service.testing.broker_clients import MemoryBatchWriter, MemoryProducer
from service.testing.harness import OUTPUT, Harness, pipeline_of

HOUR_MS = 3_600_000


@handler("acceptance.pass")
def passed(event: Event) -> dict[str, Any]:
    return {**event.data}


@handler("acceptance.stamped")
def stamped(event: Event) -> Result:
    return Result({**event.data}, timestamp=wall_clock_ms() + event.data["ahead_ms"])


@pytest.mark.parametrize(
    ("settings", "info"),
    [
        ({}, TopicInfo(3, DEFAULT_MAX_MESSAGE_BYTES)),
        ({"max.message.bytes": "1000"}, TopicInfo(3, 1000)),
        ({"max.message.bytes": "no number"}, TopicInfo(3, DEFAULT_MAX_MESSAGE_BYTES)),
        (
            {"cleanup.policy": "compact,delete"},
            TopicInfo(3, DEFAULT_MAX_MESSAGE_BYTES, needs_key=True),
        ),
        ({"cleanup.policy": "delete"}, TopicInfo(3, DEFAULT_MAX_MESSAGE_BYTES)),
        (
            {"message.timestamp.after.max.ms": "5", "message.timestamp.before.max.ms": "7"},
            TopicInfo(3, DEFAULT_MAX_MESSAGE_BYTES, ahead_max_ms=5, behind_max_ms=7),
        ),
        (
            {"message.timestamp.difference.max.ms": "9"},
            TopicInfo(3, DEFAULT_MAX_MESSAGE_BYTES, ahead_max_ms=9, behind_max_ms=9),
        ),
        (
            {"message.timestamp.after.max.ms": "5", "message.timestamp.type": "LogAppendTime"},
            TopicInfo(3, DEFAULT_MAX_MESSAGE_BYTES),
        ),
    ],
    ids=["nothing", "size", "nonsense", "compacted", "deleted", "times", "old", "broker stamps"],
)
def test_what_a_topic_takes_is_read_from_its_settings(
    settings: Mapping[str, str], info: TopicInfo
) -> None:
    assert described(3, settings) == info


@pytest.mark.parametrize("ahead_ms", [-2 * HOUR_MS, 2 * HOUR_MS])
def test_a_time_beyond_the_limits_is_refused(ahead_ms: int) -> None:
    narrow = TopicInfo(1, 1000, ahead_max_ms=HOUR_MS, behind_max_ms=HOUR_MS)
    stamp_ms = wall_clock_ms() + ahead_ms

    with pytest.raises(PermanentError):
        check_acceptable("out", narrow, b"key", stamp_ms)
    check_acceptable("out", narrow, b"key", wall_clock_ms())
    check_acceptable("out", narrow, b"key", None)
    check_acceptable("out", TopicInfo(1, 1000), b"key", stamp_ms)
    check_acceptable("out", TopicInfo(1, 1000), b"key", LONGEST_MS)


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_a_result_without_a_key_for_a_compacted_topic_is_dead_lettered(
    delivery: str,
) -> None:
    config = pipeline_of(passed)
    config["pipelines"]["test"]["delivery"] = delivery
    async with Harness(config) as service:
        topics = service.application.publisher.topics
        topics[OUTPUT] = topics[OUTPUT]._replace(needs_key=True)
        for number, key in enumerate(["a", None, "b"]):
            await service.send({"n": number}, key=key)
        await service.settle()

    assert [value["n"] for value in service.outputs()] == [0, 2]
    (letter,) = service.dead_letters()
    assert (letter.code, letter.value) == ("handler", b'{"n":1}')


async def test_a_result_with_a_time_that_its_topic_does_not_take_is_dead_lettered() -> None:
    async with Harness(pipeline_of(stamped)) as service:
        topics = service.application.publisher.topics
        topics[OUTPUT] = topics[OUTPUT]._replace(ahead_max_ms=HOUR_MS)
        for ahead_ms in (0, 2 * HOUR_MS, HOUR_MS // 2):
            await service.send({"ahead_ms": ahead_ms})
        await service.settle()

    assert [value["ahead_ms"] for value in service.outputs()] == [0, HOUR_MS // 2]
    (letter,) = service.dead_letters()
    assert letter.code == "handler"
    assert "ahead of ours" in letter.detail


class PunctualProducer(MemoryProducer):
    """Of a broker that knows the time, and takes none that is an hour ahead of it."""

    async def topic_info(self, topic: str) -> TopicInfo:
        return (await super().topic_info(topic))._replace(ahead_max_ms=HOUR_MS)

    async def send(
        self, topic: str, partition: int, batch: BatchWriter, **permission: Any
    ) -> "asyncio.Future[int]":
        assert isinstance(batch, MemoryBatchWriter)
        if max(record[0] or 0 for record in batch.records) <= NOW_MS + HOUR_MS:
            return await super().send(topic, partition, batch, **permission)
        refused: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        refused.set_exception(ProduceFailedError("InvalidTimestampError()"))
        return refused


class Owner:
    """Hears of nothing that matters here."""

    def stored(self, *args: Any, **facts: Any) -> None: ...

    def failed(self, *args: Any, **facts: Any) -> None: ...

    def lost(self, *args: Any, **facts: Any) -> None: ...

    def refused(self, *args: Any, **facts: Any) -> None: ...


NOW_MS = 1_795_000_000_000


async def test_what_a_clock_that_was_wrong_has_stamped_is_published_when_it_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = MemoryBroker()
    broker.create_topic("out", 1)
    publisher = KafkaPublisher(lambda: PunctualProducer(broker))
    inputs = RecordBatch("in", 0, [SourceRecord(b"", offset=n) for n in (0, 1)], next_offset=2)
    own_ms = NOW_MS + HOUR_MS // 2  # what a handler has said of its result is left as it is
    stamps = [NOW_MS + 2 * HOUR_MS, own_ms]

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(publisher.run())
        monkeypatch.setattr(clock, "wall_clock_s", lambda: NOW_MS / 1000 + 7200)
        await publisher.learn("out")
        rows = [(stamp, None, b"", list[tuple[str, bytes]]()) for stamp in stamps]
        publisher.add_run("out", 0, Run(inputs, [0, 1], Owner()), rows)
        publisher.added(urgent=True)
        await asyncio.sleep(60)
        assert broker.records("out") == []
        monkeypatch.setattr(clock, "wall_clock_s", lambda: NOW_MS / 1000)
        async with asyncio.timeout(60):
            await publisher.flush()
        running.cancel()

    assert [record.timestamp for record in broker.records("out")] == [NOW_MS, own_ms]
    assert inputs.left == 0
