"""Pipelines chained in one process, through the whole service in memory."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from service import Event, PermanentError, TransientError, handler
from service.handlers import load_handler
from service.handlers.context import HandlerContext
from service.state.keyed import KeyedState
from service.testing.broker import BrokerRecord, MemoryBroker
from service.testing.harness import Harness

load_handler("validate")  # importing reads files, which a coroutine must not do

GATE: dict[str, asyncio.Event] = {}
CALLS: list[tuple[str, int]] = []


@handler("chain_tests_first")
async def first(event: Event) -> Any:
    """Passes events on, each in its own time; some as several results, some as none."""
    CALLS.append(("first", event.data["n"]))
    await asyncio.sleep(event.data.get("first_s", 0))
    count = event.data.get("count", 1)
    return [{**event.data, "part": part} for part in range(count)]


@handler("chain_tests_second", concurrency=16)
async def second(event: Event) -> dict[str, Any]:
    """Passes events on in their own time, behind the gate if there is one; some fail."""
    CALLS.append(("second", event.data["n"]))
    await asyncio.sleep(event.data.get("second_s", 0))
    if event.data.get("bad"):
        raise PermanentError("no good")
    if event.attempts < event.data.get("flaky", 0):
        raise TransientError("not yet")
    if "gate" in GATE:
        await GATE["gate"].wait()
    return {**event.data, "place": f"{event.topic}/{event.partition}/{event.offset}"}


@handler("chain_tests_counting", state=("counts",))
class Counting:
    """Counts the events of each key."""

    async def open(self, context: HandlerContext) -> None:
        self._counts: KeyedState = context.state("counts")

    def __call__(self, event: Event) -> dict[str, Any]:
        count = (self._counts.get(event, event.key_text) or 0) + 1
        self._counts.put(event, event.key_text, count)
        return {**event.data, "count": count}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    GATE.clear()
    CALLS.clear()


def config(
    front: Mapping[str, Any] | None = None,
    back: Mapping[str, Any] | None = None,
    **pipelines: Mapping[str, Any],
) -> dict[str, Any]:
    """``front`` reads ``in`` and feeds ``back``, which writes ``out``; and more ``pipelines``."""
    kafka = {"kafka": {"topics": ["in"], "group_id": "g"}}
    retry = {"attempts": 5, "initial_s": 1, "jitter": 0}
    whole: dict[str, Any] = {
        "front": {
            "sources": kafka,
            "handlers": {"first": {"use": "chain_tests_first", "retry": retry, "timeout_s": 600}},
            **(front or {}),
        },
        "back": {
            "sources": {"pipeline": {"name": "front"}},
            "handlers": {
                "second": {
                    "use": "chain_tests_second",
                    "output": "out",
                    "retry": retry,
                    "timeout_s": 600,
                }
            },
            **(back or {}),
        },
        **pipelines,
    }
    for name, pipeline in whole.items():
        pipeline.setdefault("dead_letter", f"dead.{name}")
    return {"pipelines": whole}


def counting(feed: str, output: str | None = None) -> dict[str, Any]:
    return {
        "sources": {"pipeline": {"name": feed}},
        "handlers": {"count": {"use": "chain_tests_counting", "output": output}},
    }


def ids(records: list[BrokerRecord]) -> list[bytes]:
    return [record.header("headrace-id") or b"" for record in records]


def by_key(service: Harness, topic: str = "out") -> dict[bytes | None, list[Any]]:
    found: dict[bytes | None, list[Any]] = defaultdict(list)
    for record in service.records(topic):
        value = orjson.loads(record.value or b"")
        found[record.key].append((value["n"], value["part"]))
    return found


async def test_a_result_of_one_pipeline_is_an_event_of_the_next() -> None:
    async with Harness(config()) as service:
        await service.send({"n": 1}, key="k")
        await service.settle()

    (record,) = service.records("out")
    assert orjson.loads(record.value or b"") == {"n": 1, "part": 0, "place": "in/0/0"}
    assert (record.key, ids([record])) == (b"k", [b"back/second/front%2Ffirst%2Fin/0/0-0"])


async def test_a_record_is_committed_when_the_last_pipeline_is_done_with_it() -> None:
    GATE["gate"] = asyncio.Event()
    async with Harness(config()) as service:
        await service.send({"n": 1}, key="k")
        await service.advance(30)
        before = service.committed()
        GATE["gate"].set()
        await service.settle()

        assert (before, service.committed()) == ({0: 0}, {0: 1})


async def test_one_result_that_is_late_does_not_hold_back_what_is_known_of_the_others() -> None:
    broker = MemoryBroker()
    async with Harness(config(), broker=broker) as service:
        await service.send({"n": 0, "flaky": 4}, key="slow")
        await service.send_all([{"n": n} for n in range(1, 9)], key="quick")
        await service.advance(2)
        await service.kill()
    CALLS.clear()
    async with Harness(config(), broker=broker) as service:
        await service.settle()

    assert {n for _, n in CALLS} == {0}  # what was finished behind it is in the commit


async def test_order_per_key_is_kept_across_the_hop() -> None:
    async with Harness(config(), partitions=3) as service:
        for n in range(300):
            times = {"first_s": n * 7 % 5 / 10, "second_s": n * 11 % 3 / 10, "count": 1 + n % 3}
            await service.send({"n": n, **times}, key=f"key-{n % 7}")
        await service.settle()

        found = by_key(service)
    assert sum(map(len, found.values())) == sum(1 + n % 3 for n in range(300))
    assert all(sequence == sorted(sequence) for sequence in found.values())
    assert len(set(ids(service.records("out")))) == 600


async def test_a_failed_event_is_tried_again_where_it_failed_and_holds_its_key() -> None:
    async with Harness(config()) as service:
        await service.send({"n": 0, "flaky": 3}, key="a")
        await service.send({"n": 1}, key="a")
        await service.settle()

    assert by_key(service)[b"a"] == [(0, 0), (1, 0)]
    assert CALLS.count(("first", 0)) == 1
    assert CALLS.count(("second", 0)) == 4


async def test_what_fails_in_the_second_pipeline_is_the_original_in_its_dead_letter_topic() -> None:
    async with Harness(config()) as service:
        await service.send({"n": 1, "bad": True}, key="k", headers=(("own", b"header"),))
        await service.settle()

        assert service.records("dead.front") == []
    (letter,) = service.records("dead.back")
    assert (letter.key, orjson.loads(letter.value or b"")) == (b"k", {"n": 1, "bad": True})
    assert letter.header("own") == b"header"
    assert letter.header("headrace-origin") == b"in/0/0"
    assert letter.header("headrace-handler") == b"second"


async def test_a_full_channel_makes_the_first_pipeline_wait() -> None:
    GATE["gate"] = asyncio.Event()
    capacity, running = 10, 16
    both = {"channel": {"capacity": capacity}}
    async with Harness(config(both, both)) as service:
        for n in range(1000):
            await service.send({"n": n}, key=f"key-{n}")
        await service.advance(60)
        handled = sum(name == "first" for name, _ in CALLS)
        second_channel = service.application.pipelines["back"].pipeline.inbox.statistics()
        GATE["gate"].set()
        await service.settle()

    assert second_channel.peak <= capacity
    # the first stage's calls and what waits behind them, in front of a full second stage
    assert handled <= 2 * 64 + 4 * capacity + running
    assert len(service.records("out")) == 1000


async def test_a_drain_goes_down_the_chain() -> None:
    async with Harness(config(third=counting("back", "counted"))) as service:
        for n in range(50):
            await service.send({"n": n, "first_s": 1, "second_s": 2}, key=f"key-{n % 20}")
        await service.advance(1.5)  # in both pipelines, and waiting in front of both
        report = await service.drain()

    assert (report.drained, report.exit_code) == (True, 0)
    assert len(service.records("counted")) == len(service.records("out")) > 0
    assert service.committed()[0] == len(service.records("out"))


async def test_a_kill_repeats_results_under_the_same_ids_and_loses_none() -> None:
    expected = {
        b"back/second/front%%2Ffirst%s%%2Fin/0/%d-0" % (b"%3A1" if part else b"", n)
        for n in range(40)
        for part in range(2)
    }
    broker = MemoryBroker()
    for _ in range(4):
        async with Harness(config(), broker=broker) as service:
            if not service.broker.records("in"):
                for n in range(40):
                    data = {"n": n, "count": 2, "first_s": 0.1, "second_s": 0.3}
                    await service.send(data, key=f"key-{n % 5}")
            await service.advance(1.0)
            await service.kill()
    async with Harness(config(), broker=broker) as service:
        await service.settle()

        assert set(ids(service.records("out"))) == expected


async def test_a_rebalance_in_the_middle_keeps_the_order_of_keys() -> None:
    broker = MemoryBroker()
    async with Harness(config(), broker=broker) as service:
        for n in range(60):
            data = {"n": n, "first_s": 0.2, "second_s": 0.5 + n % 3 / 10}
            await service.send(data, key=f"key-{n % 4}")
        for _ in range(3):
            await service.advance(1.7)
            (group,) = broker.groups.values()
            await group.rebalance()
        await service.settle()

        found = by_key(service)
    assert sorted(n for sequence in found.values() for n, _ in sequence) == list(range(60))
    assert all(sequence == sorted(sequence) for sequence in found.values())


async def test_a_rebalance_waits_for_what_runs_and_not_for_what_waits_in_the_channel() -> None:
    broker = MemoryBroker()
    one_at_a_time = {"use": "chain_tests_second", "output": "out", "ordering": "partition"}
    back = {"handlers": {"second": {**one_at_a_time, "timeout_s": 600}}}
    async with Harness(config(back=back), broker=broker) as service:
        for n in range(20):
            await service.send({"n": n, "second_s": 3}, key=f"key-{n}")
        await service.advance(1)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        (group,) = broker.groups.values()
        await group.rebalance()
        took_s = loop.time() - began_s
        await service.settle()

    assert took_s < 4
    assert [value["n"] for value in service.outputs("out")] == list(range(20))


async def test_results_can_go_to_a_topic_and_down_a_chain() -> None:
    front = {"handlers": {"first": {"use": "chain_tests_first", "output": "kept"}}}
    async with Harness(config(front)) as service:
        await service.send({"n": 1, "count": 2}, key="k")
        await service.settle()

        assert len(service.records("kept")) == len(service.records("out")) == 2
        assert service.committed() == {0: 1}


async def test_results_go_to_every_pipeline_that_takes_them_and_wait_for_all() -> None:
    GATE["gate"] = asyncio.Event()
    async with Harness(config(beside=counting("front", "counted"))) as service:
        await service.send_all([{"n": 1}, {"n": 2}], key="k")
        await service.advance(5)
        counted, before = len(service.records("counted")), service.committed()
        GATE["gate"].set()
        await service.settle()

        assert (counted, before, service.committed()) == (2, {0: 0}, {0: 2})


async def test_state_behind_a_chain_survives_a_kill_with_its_partition() -> None:
    broker = MemoryBroker()
    document = config(back=counting("front", "counted"))
    for n in range(3):
        async with Harness(document, broker=broker, partitions=2) as service:
            await service.send({"n": n}, key="k")
            await service.settle()
            await service.kill()

    counts = [orjson.loads(record.value or b"")["count"] for record in broker.records("counted")]
    assert counts == [1, 2, 3]


async def test_state_in_front_of_a_chain_waits_for_what_comes_of_its_results() -> None:
    GATE["gate"] = asyncio.Event()
    front = {"handlers": {"count": {"use": "chain_tests_counting"}}}
    broker = MemoryBroker()
    async with Harness(config(front), broker=broker) as service:
        await service.send({"n": 1}, key="k")
        await service.advance(30)
        before = len(broker.records("g-front-count-counts-changelog"))
        GATE["gate"].set()
        await service.settle()

        assert (before, len(broker.records("g-front-count-counts-changelog"))) == (0, 1)
        assert [value["count"] for value in service.outputs("out")] == [1]


async def test_status_names_the_handler_behind_the_chain_that_blocks() -> None:
    async with Harness(config()) as service:
        await service.send({"n": 1, "second_s": 300}, key="k")
        await service.advance(200)
        status = service.application.snapshot().pipelines
        await service.settle()

    (partition,) = status["front"].partitions
    assert partition.blocking is not None
    assert (partition.blocking.handler, partition.blocking.offset) == ("second", 0)
    assert status["back"].fed_by == ("front",)
    assert service.application.pipelines["back"].counters.acked == 1
