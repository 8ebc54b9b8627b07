"""Durable state through the whole service, in memory: kills, rebalances, failures."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from service import Event, TransientError, handler
from service.app import Application
from service.app.changelogs import changelog_topics, changelogs_of, check
from service.cli.components import component_problems
from service.consumers.base import TopicPartition
from service.errors import BrokerUnavailableError, ConfigurationError, FatalError
from service.handlers import load_handler
from service.handlers.context import HandlerContext
from service.handlers.results import PartitionResult
from service.handlers.timers import Timer
from service.metrics import Blocking, Cause
from service.settings import Settings
from service.state import restore
from service.state.keyed import Codec, KeyedState, Partition
from service.state.restore import Chunk
from service.testing.broker import MemoryBroker
from service.testing.broker_changelogs import MemoryChangelogs
from service.testing.broker_clients import MemoryProducer
from service.testing.harness import Harness, pipeline_of

load_handler("validate")  # importing reads files, which a coroutine must not do

CHANGELOG = "test-test-handler-counts-changelog"


@handler("state_tests_counting", state=("counts",))
class Counting:
    """Counts the events of each key; publishes the count when it is told to."""

    async def open(self, context: HandlerContext) -> None:
        self._counts: KeyedState = context.state("counts")

    def __call__(self, event: Event) -> dict[str, Any] | None:
        key = event.data["key"]
        count = (self._counts.get(event, key) or 0) + 1
        if event.data.get("forget"):
            self._counts.delete(event, key)
        else:
            self._counts.put(event, key, count)
        if event.data.get("fail") and not event.attempts:
            raise TransientError("once")
        return {"key": key, "count": count} if event.data.get("tell") else None


@pytest.fixture(autouse=True, params=["memory", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Everything here is true of both stores, the one on disk with two keys in memory."""
    _STATE.clear()
    if request.param == "rocksdb":
        pytest.importorskip("rocksdict")
        _STATE.update(store="rocksdb", directory=str(tmp_path), cache_keys=2)
    yield request.param
    _STATE.clear()


_STATE: dict[str, Any] = {}


def config(delivery: str, *, use: Any = Counting, **pipeline: Any) -> dict[str, Any]:
    document = pipeline_of(use, retry={"initial_s": 0.01})
    document["pipelines"]["test"] |= {"delivery": delivery, **pipeline}
    document["state"] = dict(_STATE)
    return document


def changelog(broker: MemoryBroker) -> dict[str, Any]:
    """What the changelog says, as compaction would leave it."""
    latest: dict[str, Any] = {}
    for record in broker.records(CHANGELOG):
        key = (record.key or b"").decode()
        latest.pop(key, None)
        if record.value is not None:
            latest[key] = orjson.loads(record.value)
    return latest


BOTH = pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])


@BOTH
async def test_state_is_in_the_changelog_before_its_offset_is_committed(delivery: str) -> None:
    async with Harness(config(delivery)) as service:
        await service.send_all([{"key": "a"}] * 3)

        await service.settle()

        assert changelog(service.broker) == {"input/a": 3}
        assert service.committed() == {0: 3}


@BOTH
async def test_a_new_process_goes_on_where_the_killed_one_was(delivery: str) -> None:
    broker = MemoryBroker()
    async with Harness(config(delivery), broker=broker) as first:
        await first.send_all([{"key": "a"}, {"key": "b"}, {"key": "a"}])
        await first.settle()
        await first.kill()

    async with Harness(config(delivery), broker=broker) as second:
        await second.send({"key": "a", "tell": True})
        await second.settle()

        assert second.outputs() == [{"key": "a", "count": 3}]


@BOTH
async def test_a_deleted_key_leaves_a_tombstone_and_no_memory(delivery: str) -> None:
    async with Harness(config(delivery)) as service:
        await service.send({"key": "a"})
        await service.settle()
        await service.send({"key": "a", "forget": True})
        await service.settle()

        assert changelog(service.broker) == {}
        assert service.broker.records(CHANGELOG)[-1].value is None


@BOTH
async def test_what_a_failed_attempt_changed_is_undone_before_the_next_one(delivery: str) -> None:
    async with Harness(config(delivery)) as service:
        await service.send({"key": "a"})
        await service.send({"key": "a", "fail": True, "tell": True})
        await service.settle()

        assert service.outputs() == [{"key": "a", "count": 2}]
        assert changelog(service.broker) == {"input/a": 2}


@pytest.mark.parametrize("cut_s", [0.0, 0.01, 0.03, 0.06, 0.11, 0.13, 0.2, 0.5])
async def test_exactly_once_a_kill_at_any_moment_counts_every_event_once(cut_s: float) -> None:
    broker = MemoryBroker()
    events = [{"key": f"k{n % 7}"} for n in range(2_000)]
    async with Harness(config("exactly_once"), broker=broker, partitions=2) as first:
        for n, event in enumerate(events):
            await first.send(event, partition=n % 2)
        await first.advance(cut_s)
        await first.kill()

    async with Harness(config("exactly_once"), broker=broker, partitions=2) as second:
        await second.settle()

    counts: Counter[str] = Counter()
    for partition in (0, 1):
        latest: dict[str, int] = {}
        for record in broker.records(CHANGELOG, partition):
            latest[(record.key or b"").decode()] = orjson.loads(record.value or b"0")
        counts.update(latest)
    assert counts == Counter(f"input/{event['key']}" for event in events)


@pytest.mark.parametrize("cut_s", [0.0, 0.01, 0.06, 0.11, 0.2])
async def test_at_least_once_a_kill_loses_no_event_and_no_result(cut_s: float) -> None:
    broker = MemoryBroker()
    events = [{"key": f"k{n % 3}", "tell": n % 100 == 99} for n in range(1_000)]
    async with Harness(config("at_least_once"), broker=broker) as first:
        await first.send_all(events)
        await first.advance(cut_s)
        await first.kill()

    async with Harness(config("at_least_once"), broker=broker) as second:
        await second.settle()
        told = Counter(value["key"] for value in second.outputs())

    counts = changelog(broker)
    for key, count in Counter(event["key"] for event in events).items():
        assert counts[f"input/{key}"] >= count
    for key, count in Counter(event["key"] for event in events if event["tell"]).items():
        assert told[str(key)] >= count


@BOTH
async def test_a_partition_takes_its_state_along_to_another_member(delivery: str) -> None:
    broker = MemoryBroker()
    async with Harness(config(delivery), broker=broker, partitions=2) as first:
        for partition in (0, 1):
            await first.send({"key": "a"}, partition=partition)
        await first.settle()
        async with Harness(config(delivery), broker=broker) as second:
            await second.advance(5)
            for partition in (0, 1):
                await first.send({"key": "a", "tell": True}, partition=partition)
            await first.settle()

            assert first.outputs() == [{"key": "a", "count": 2}] * 2
            held = [_keys(harness) for harness in (first, second)]

        assert held == [1, 1]


@BOTH
async def test_a_changelog_partition_that_is_missing_holds_up_none_but_its_own(
    delivery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = {1}
    read = MemoryChangelogs.read

    def look(
        self: MemoryChangelogs, topic: str, partition: int, start: int
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        if partition in missing:
            raise BrokerUnavailableError(f"{topic}/{partition}: no such partition")
        return read(self, topic, partition, start)

    monkeypatch.setattr(MemoryChangelogs, "read", look)
    async with Harness(config(delivery), partitions=3) as service:
        for partition in range(3):
            await service.send({"key": "a", "tell": True}, partition=partition)
        await service.advance(60)
        before = dict(service.committed())
        status = service.application.snapshot().pipelines["test"]
        missing.clear()
        await service.settle()

        assert before == {0: 1, 2: 1}
        blocking = [partition.blocking for partition in status.partitions]
        assert blocking == [None, Blocking(cause=Cause.STATE), None]
        assert service.committed() == {0: 1, 1: 1, 2: 1}
        assert service.outputs() == [{"key": "a", "count": 1}] * 3


def take_nothing(monkeypatch: pytest.MonkeyPatch, topic: str, partition: int) -> set[int]:
    """Let a partition of ``topic`` take nothing until it is removed from what is returned."""
    stuck = {partition}
    there = MemoryProducer._there

    def takes(self: MemoryProducer, name: str, number: int) -> bool:
        return there(self, name, number) and not (name == topic and number in stuck)

    monkeypatch.setattr(MemoryProducer, "_there", takes)
    return stuck


async def test_a_changelog_partition_that_takes_nothing_holds_up_none_but_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stuck = take_nothing(monkeypatch, CHANGELOG, 1)
    async with Harness(config("at_least_once"), partitions=3) as service:
        for count in (1, 2):
            for partition in range(3):
                await service.send({"key": "a", "tell": count == 1}, partition=partition)
            await service.advance(30)
        before = dict(service.committed())
        stuck.clear()
        await service.settle()

        assert before == {0: 2, 1: 0, 2: 2}
        assert service.committed() == {0: 2, 1: 2, 2: 2}
        assert service.outputs() == [{"key": "a", "count": 1}] * 3
        assert changelog(service.broker) == {"input/a": 2}


@handler("state_tests_reminding", state=("timers",))
class Reminding:
    """Tells of each key a second after its event."""

    async def open(self, context: HandlerContext) -> None:
        self._timers = context.timers(lambda timer: {"key": timer.key})

    def __call__(self, event: Event) -> None:
        self._timers.set(event, event.key_text, 0)


async def test_timers_go_off_while_a_changelog_partition_takes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topic = "test-test-handler-timers-changelog"
    stuck = take_nothing(monkeypatch, topic, 1)
    document = pipeline_of(Reminding)
    document["state"] = dict(_STATE)
    async with Harness(document, partitions=2) as service:
        for number, partition in enumerate((1, 0, 1, 0)):
            await service.send({}, key=f"k{number}", partition=partition)
            await service.advance(3)
        told = [value["key"] for value in service.outputs()]
        before = dict(service.committed())
        stuck.clear()
        await service.settle()

        assert sorted(told) == ["k0", "k1", "k2", "k3"]
        assert before == {0: 2, 1: 0}
        assert service.committed() == {0: 2, 1: 2}
        await service.advance(1)
        left = {record.key: record.value for record in service.records(topic)}
        assert left == {b"input/t/k%d" % number: None for number in range(4)}


def read_slowly(monkeypatch: pytest.MonkeyPatch, failures: dict[int, int]) -> None:
    """Changelogs a record a second; a partition fails in the middle as often as told."""
    chunks = MemoryChangelogs._chunks

    async def slowly(
        self: MemoryChangelogs, at: TopicPartition, start: int
    ) -> AsyncIterator[Chunk]:
        async for chunk in chunks(self, at, start):
            for place, record in enumerate(chunk.records, 1):
                await asyncio.sleep(1)
                yield Chunk([record], record.offset + 1, chunk.end_offset)
                if place == len(chunk.records) // 2 and failures.get(at.partition):
                    failures[at.partition] -= 1
                    raise BrokerUnavailableError("away")

    monkeypatch.setattr(MemoryChangelogs, "_chunks", slowly)


async def test_what_is_left_to_restore_is_that_of_all_partitions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = MemoryBroker()
    async with Harness(config("at_least_once"), broker=broker, partitions=2) as first:
        for number in range(24):
            await first.send({"key": f"k{number}"}, partition=int(number >= 4))
        await first.settle()

    read_slowly(monkeypatch, {})
    async with Harness(config("at_least_once"), broker=broker, partitions=2) as second:
        left: list[int] = []
        for _ in range(24):
            left.append(_counters(second).restore_left)
            await asyncio.sleep(1)

    assert left[2:] == [20, 18, *range(16, 0, -1), 0, 0, 0, 0]


@pytest.mark.parametrize("store", ["rocksdb"], indirect=True)
@pytest.mark.usefixtures("store")
async def test_a_restore_that_fails_leaves_nothing_on_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = MemoryBroker()
    async with Harness(config("at_least_once"), broker=broker) as first:
        await first.send_all([{"key": f"k{number}"} for number in range(20)])
        await first.settle()

    monkeypatch.setattr(restore, "LATEST_MAX", 1)
    read_slowly(monkeypatch, {0: 3})
    async with Harness(config("at_least_once"), broker=broker) as second:
        await second.advance(120)
        disk = second.application.disk
        assert disk is not None
        stored = len(list(disk.db.keys()))

    assert stored == 2 * 20  # a value and its age


@BOTH
async def test_a_partition_that_comes_straight_back_reads_only_what_is_new(delivery: str) -> None:
    broker = MemoryBroker()
    async with Harness(config(delivery), broker=broker) as service:
        await service.send_all([{"key": f"k{n}"} for n in range(50)])
        await service.settle()
        await service.advance(1)
        await broker.group("test").rebalance()
        await service.advance(1)
        before = _counters(service).restored
        await broker.group("test").rebalance()
        await service.send({"key": "k7", "tell": True})
        await service.settle()

        assert service.outputs() == [{"key": "k7", "count": 2}]
        assert before == 50
        assert _counters(service).restored == 50


async def test_a_failed_transaction_takes_the_state_back_with_it() -> None:
    broker = MemoryBroker()
    async with Harness(config("exactly_once"), broker=broker) as service:
        await service.send({"key": "a"})
        await service.settle()
        broker.stop()
        await service.send({"key": "a"})
        await service.advance(1)
        broker.start()
        await service.advance(30)
        await service.send({"key": "a", "tell": True})
        await service.settle()

        assert service.outputs() == [{"key": "a", "count": 3}]


async def test_the_state_is_counted() -> None:
    async with Harness(config("at_least_once")) as service:
        await service.send_all([{"key": "a"}, {"key": "b"}])
        await service.settle()
        await service.advance(2)

        counters = _counters(service)

        assert (counters.state_keys, counters.changelog_lag, counters.restore_left) == (2, 0, 0)


async def test_a_value_that_is_damaged_counts_as_absent_and_is_counted() -> None:
    broker = MemoryBroker()
    async with Harness(config("at_least_once"), broker=broker) as first:
        await first.send_all([{"key": "a"}, {"key": "b"}])
        await first.settle()
    broker.topics[CHANGELOG].logs[0].append(0, b"input/a", b"{", ())

    async with Harness(config("at_least_once"), broker=broker) as second:
        await second.send_all([{"key": "a", "tell": True}, {"key": "b", "tell": True}])
        await second.settle()
        await second.advance(2)

        assert second.outputs() == [{"key": "a", "count": 1}, {"key": "b", "count": 2}]
        assert _counters(second).state_damaged == 1


class Sealed(NamedTuple):
    """A value of a handler's own, which its codec may not know how to write or to read."""

    text: str


def _seal(value: Sealed) -> str:
    if value.text == "unknown":
        raise RuntimeError("no way to write it")
    return value.text


def _unseal(stored: str) -> Sealed:
    if stored == "unreadable":
        raise RuntimeError("no way to read it")
    return Sealed(stored)


@handler("state_tests_sealing", state=("counts",))
class Sealing:
    """Remembers the last text of each key, and tells of the one before."""

    async def open(self, context: HandlerContext) -> None:
        codec = Codec(encode=_seal, decode=_unseal)
        self._last: KeyedState = context.state("counts", codec=codec)

    def __call__(self, event: Event) -> dict[str, Any]:
        before: Sealed | None = self._last.get(event, event.key_text)
        self._last.put(event, event.key_text, Sealed(event.data["text"]))
        return {"before": None if before is None else before.text}


@BOTH
async def test_what_a_codec_cannot_write_or_read_is_gone_and_holds_nothing_up(
    delivery: str,
) -> None:
    document = config(delivery, use=Sealing)
    broker = MemoryBroker()
    async with Harness(document, broker=broker) as first:
        for text in ("fine", "unreadable", "unknown"):
            await first.send({"text": text}, key=text)
            await first.settle()

    async with Harness(document, broker=broker) as second:
        for text in ("fine", "unreadable", "unknown"):
            await second.send({"text": "fine"}, key=text)
        await second.settle()

        told = [value["before"] for value in second.outputs()[3:]]
        assert told == ["fine", None, None]
        assert second.dead_letters() == []


@handler("state_tests_patient", state=("counts", "timers"))
class Patient:
    """Counts like the other, and waits for something before it knows whether it fails."""

    async def open(self, context: HandlerContext) -> None:
        self._counts: KeyedState = context.state("counts")
        self._timers = context.timers(self.remind)

    async def __call__(self, event: Event) -> dict[str, Any]:
        count = (self._counts.get(event, event.key_text) or 0) + 1
        self._counts.put(event, event.key_text, count)
        self._timers.set(event, event.key_text, 0)
        await asyncio.sleep(2.5)
        if not event.attempts:
            raise TransientError("once")
        return {"count": count}

    def remind(self, timer: Timer) -> dict[str, Any]:
        count = (self._counts.get(timer.place, "reminded") or 0) + 1
        self._counts.put(timer.place, "reminded", count)
        return {"reminded": timer.key}


@BOTH
async def test_what_a_call_has_changed_is_not_decided_by_a_timer_meanwhile(delivery: str) -> None:
    async with Harness(config(delivery, use=Patient)) as service:
        await service.send({}, key="a")
        await service.settle()
        await service.advance(3)

        counts = [told["count"] for told in service.outputs() if "count" in told]
        reminded = [told for told in service.outputs() if "reminded" in told]

        assert counts == [1]
        assert changelog(service.broker) == {"input/a": 1, "input/reminded": len(reminded)}


@handler("state_tests_bare", state=("counts",))
class Bare:
    """Waits, names the partition where it should name the event, and has no tick."""

    async def open(self, context: HandlerContext) -> None:
        self._counts: KeyedState = context.state("counts")

    def assigned(self, topic: str, partition: int) -> None:
        self._counts.put(Partition(topic, partition), "assigned", [True])

    async def __call__(self, event: Event) -> None:
        place = Partition(event.topic, event.partition)
        seen = self._counts.get(place, event.key_text) or []
        await asyncio.sleep(0)
        seen.append(event.offset)
        self._counts.put(place, event.key_text, seen)


@BOTH
async def test_what_a_call_has_changed_for_its_partition_counts_within_a_second(
    delivery: str,
) -> None:
    async with Harness(config(delivery, use=Bare)) as service:
        await service.advance(1.5)
        before = changelog(service.broker)
        await service.send_all([{}] * 3, key="a")
        await service.settle()

        assert before == {"input/assigned": [True]}
        assert changelog(service.broker) == {"input/assigned": [True], "input/a": [0, 1, 2]}


@handler("state_tests_clumsy", state=("counts",))
class Clumsy:
    """Has a tick that changes the state and then fails, the first two times."""

    async def open(self, context: HandlerContext) -> None:
        self._counts: KeyedState = context.state("counts")
        self._ticks = 0

    def __call__(self, event: Event) -> dict[str, Any]:
        self._counts.put(event, "seen", 1)
        return {"seen": True}

    def tick(self, now_s: float) -> list[PartitionResult]:
        del now_s
        place = Partition("input", 0)
        if not self._counts.get(place, "seen"):
            return []
        self._ticks += 1
        count = (self._counts.get(place, "ticks") or 0) + 1
        self._counts.put(place, "ticks", count)
        if self._ticks <= 2:
            raise RuntimeError("not yet")
        return [PartitionResult(place, {"ticks": count})] if count == 1 else []


@BOTH
async def test_a_tick_that_fails_ends_nothing_and_changes_nothing(delivery: str) -> None:
    async with Harness(config(delivery, use=Clumsy)) as service:
        await service.send({})
        await service.settle()
        await service.advance(2.5)
        assert "input/ticks" not in changelog(service.broker)
        await service.send({})
        await service.advance(1)

        assert service.outputs() == [{"seen": True}, {"seen": True}, {"ticks": 1}]


@handler("state_tests_overlapping", state=("counts",), concurrency=8)
class Overlapping:
    """Counts like the others; at every moment some of its calls wait for something."""

    async def open(self, context: HandlerContext) -> None:
        self._counts: KeyedState = context.state("counts")

    async def __call__(self, event: Event) -> dict[str, Any]:
        count = (self._counts.get(event, event.key_text) or 0) + 1
        self._counts.put(event, event.key_text, count)
        await asyncio.sleep(0.3)
        return {"key": event.key_text, "count": count}


@BOTH
async def test_calls_that_overlap_without_a_pause_are_committed_and_count_once(
    delivery: str,
) -> None:
    document = config(delivery, use=Overlapping)
    broker = MemoryBroker()
    async with Harness(document, broker=broker) as first:
        for number in range(100):
            await first.send({}, key=f"k{number % 7}")
            await asyncio.sleep(0.05)
        assert first.committed()[0] > 80
        assert len(first.outputs()) > 80
        await first.kill()

    async with Harness(document, broker=broker) as second:
        await second.settle()
        told: dict[str, int] = {}
        for output in second.outputs():
            told[output["key"]] = max(told.get(output["key"], 0), output["count"])

    assert changelog(broker) == {f"input/{key}": count for key, count in told.items()}
    expected = {f"k{key}": len(range(key, 100, 7)) for key in range(7)}
    if delivery == "exactly_once":
        assert told == expected
    else:  # what was written and not committed counts again
        assert all(told[key] >= count for key, count in expected.items())


def test_the_changelog_topics_are_known_from_the_configuration_alone() -> None:
    settings = Settings.model_validate(config("at_least_once"))

    assert list(changelog_topics(settings)) == [CHANGELOG]


def test_two_states_that_would_share_a_changelog_are_refused() -> None:
    document = pipeline_of(Counting)
    one = document["pipelines"].pop("test")
    other = {**one, "sources": {"kafka": {**one["sources"]["kafka"], "topics": ["other"]}}}
    use = one["handlers"]["handler"]
    document["pipelines"] = {
        "a-b": {**one, "handlers": {"c": use}},
        "a": {**other, "handlers": {"b-c": use}},
    }
    settings = Settings.model_validate(document)

    (problem,) = component_problems(settings)

    group = one["sources"]["kafka"]["group_id"]
    assert problem.startswith(
        f"pipelines.a.handlers.b-c: its state would share the topic {group}-a-b-c-"
    )
    with pytest.raises(ConfigurationError, match="would share the topic"):
        Application(settings)


@pytest.mark.parametrize("group", ["team/logs", "g" * 240], ids=["a slash", "too long"])
def test_a_changelog_that_kafka_does_not_take_is_refused(group: str) -> None:
    document = pipeline_of(Counting)
    document["pipelines"]["test"]["sources"]["kafka"]["group_id"] = group

    (problem,) = component_problems(Settings.model_validate(document))

    assert "which is no topic name" in problem


@pytest.mark.parametrize(
    ("handler_settings", "pipeline", "problem"),
    [
        ({"retry": {"delay_topics": ["test.5s"]}}, {}, "delay_topics"),
        ({}, {"delivery": "exactly_once"}, "only one"),
    ],
    ids=["delay topics", "two handlers exactly once"],
)
def test_what_would_make_durable_state_wrong_is_refused(
    handler_settings: Mapping[str, Any], pipeline: Mapping[str, Any], problem: str
) -> None:
    document = pipeline_of(Counting, **handler_settings)
    test = document["pipelines"]["test"]
    test |= pipeline
    if pipeline:
        test["handlers"]["other"] = {"use": "log_alerts", "output": "output"}

    settings = Settings.model_validate(document).pipelines["test"]
    logged = changelogs_of("test", settings, settings.kafka_groups[0])

    with pytest.raises(ConfigurationError, match=problem):
        check("test", settings, logged)
    assert problem in "".join(component_problems(Settings.model_validate(document)))


def _counters(service: Harness) -> Any:
    return service.application.pipelines["test"].counters.handler("handler")


def _keys(service: Harness) -> int:
    service.application.pipelines["test"].state.look_after()
    keys: int = _counters(service).state_keys
    return keys


@pytest.mark.parametrize(
    ("fails", "problem"), [("write", "takes no state"), ("get", "cannot be read")]
)
@pytest.mark.parametrize("store", ["rocksdb"], indirect=True)
@pytest.mark.usefixtures("store")
async def test_a_disk_that_fails_is_no_events_fault(
    fails: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            if name == fails:
                return self._fail
            return getattr(self._inner, name)

        def _fail(self, _what: Any) -> None:
            raise RuntimeError("IO error")

    broker = MemoryBroker()

    async def serve() -> None:
        async with Harness(config("at_least_once"), broker=broker) as service:
            disk = service.application.disk
            assert disk is not None
            monkeypatch.setattr(disk, "db", Failing(disk.db))
            await service.send_all([{"key": str(n)} for n in range(5)])
            await service.advance(60)

    with pytest.raises(BaseExceptionGroup) as raised:
        await serve()

    assert raised.group_contains(FatalError, match=problem)
    assert broker.records("dead") == []
