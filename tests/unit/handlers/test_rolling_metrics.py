import asyncio
import random
import statistics
from collections import defaultdict
from typing import Any

import pytest
from pydantic import ValidationError

from service import Event, handler
from service.handlers import load_handler
from service.handlers.rolling_options import RollingMetricsOptions
from service.testing.broker import MemoryBroker
from service.testing.harness import Harness, pipeline_of

load_handler("rolling_metrics")  # importing reads files, which a coroutine must not do

_START_MS = 1_700_000_000_000
_Event = tuple[str, int, float]


def config(delivery: str = "at_least_once", **options: Any) -> dict[str, Any]:
    document = pipeline_of(
        "rolling_metrics", options={"key": "k", "value": "v", "time": "t", **options}
    )
    document["pipelines"]["test"]["delivery"] = delivery
    return document


def generated(count: int, *, keys: int, disorder_ms: int, seed: int = 1) -> list[_Event]:
    """Events of ``keys`` keys, up to ``disorder_ms`` out of order, some of them twice."""
    rng = random.Random(seed)
    at_ms = _START_MS
    events: list[_Event] = []
    for _ in range(count):
        at_ms += rng.randrange(0, 40)
        event = (f"k{rng.randrange(keys)}", at_ms - rng.randrange(disorder_ms), rng.gauss(50, 20))
        events.append(event)
        if rng.random() < 0.02:
            events.append(event)
    return events


def as_data(event: _Event) -> dict[str, Any]:
    return {"k": event[0], "t": event[1], "v": event[2]}


def recomputed(
    events: list[_Event], *, size_ms: int, lateness_ms: int
) -> tuple[dict[tuple[str, int], list[float]], int]:
    """Values of each tumbling window of one partition by the definitions, and how many are late."""
    windows: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    newest = late = 0
    for key, at_ms, value in events:
        start = at_ms // size_ms * size_ms
        if start + size_ms <= newest - lateness_ms:
            late += 1
        else:
            windows[key, start].append(value)
        newest = max(newest, at_ms)
    return windows, late


def check_report(report: dict[str, Any], values: list[float]) -> None:
    ordered = sorted(values)
    assert report["count"] == len(values)
    assert report["min"] == ordered[0]
    assert report["max"] == ordered[-1]
    assert report["mean"] == pytest.approx(statistics.fmean(values), rel=1e-9)
    if len(values) > 1:
        assert report["std"] == pytest.approx(statistics.stdev(values), rel=1e-6)
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        exact = ordered[int(share * (len(values) - 1))]
        assert abs(report[name] - exact) <= 0.0101 * abs(exact)


async def test_windows_equal_a_recomputation_with_disorder_late_events_and_duplicates() -> None:
    events = generated(3_000, keys=20, disorder_ms=4_000)
    document = config(size_s=10, lateness_s=1, idle_s=5, late_topic="late")
    async with Harness(document) as service:
        service.broker.create_topic("late")
        await service.send_all(map(as_data, events))
        await service.settle()
        await service.advance(30)

        reports = service.outputs()
        late = service.outputs("late")

    windows, late_count = recomputed(events, size_ms=10_000, lateness_ms=1_000)
    assert late_count > 10
    assert len(late) == late_count
    assert len(reports) == len(windows)
    for report in reports:
        assert report["final"]
        check_report(report, windows[report["key"], report["start"]])


@pytest.mark.parametrize("cut_s", [0.0, 0.02, 0.05, 0.11, 0.2, 0.4])
async def test_exactly_once_a_kill_in_the_middle_of_windows_changes_no_figure(
    cut_s: float,
) -> None:
    broker = MemoryBroker()
    document = config("exactly_once", size_s=10, lateness_s=1, idle_s=5)
    events = generated(2_000, keys=10, disorder_ms=900)
    async with Harness(document, broker=broker) as first:
        await first.send_all(map(as_data, events))
        await first.advance(cut_s)
        await first.kill()

    async with Harness(document, broker=broker) as second:
        await second.settle()
        await second.advance(30)
        reports = second.outputs()

    windows, late_count = recomputed(events, size_ms=10_000, lateness_ms=1_000)
    assert late_count == 0
    assert len(reports) == len(windows)
    for report in reports:
        check_report(report, windows[report["key"], report["start"]])


async def test_a_quiet_partitions_window_closes_by_the_wall_clock_and_leaves_nothing() -> None:
    async with Harness(config(size_s=10, lateness_s=2, idle_s=5)) as service:
        await service.send(as_data(("a", _START_MS, 1.0)))
        await service.settle()

        await service.advance(10.9)
        assert service.outputs() == []
        await service.advance(3)

        assert [report["count"] for report in service.outputs()] == [1]
        await service.advance(2)
        changelog = service.records("test-test-handler-windows-changelog")
        assert changelog[-1].value is None
        assert service.application.pipelines["test"].counters.handler("handler").state_keys == 1


async def test_a_silence_is_not_written_down_each_second_and_what_it_closed_stays_closed() -> None:
    document = config(size_s=10, lateness_s=2, idle_s=5, late_topic="late")
    broker = MemoryBroker()
    async with Harness(document, broker=broker) as service:
        service.broker.create_topic("late")
        await service.send(as_data(("a", _START_MS, 1.0)))
        await service.settle()
        await service.advance(20)
        assert len(service.outputs()) == 1
        times = "test-test-handler-time-changelog"
        written = len(service.records(times))

        await service.advance(3_600)

        assert len(service.records(times)) == written
        assert service.application.pipelines["test"].counters.handler("handler").changelog_lag == 0

    async with Harness(document, broker=broker) as service:
        await service.send(as_data(("a", _START_MS + 1, 1.0)))
        await service.settle()
        await service.advance(30)

        assert len(service.outputs()) == 1
        assert len(service.outputs("late")) == 1


@handler("rolling_tests_slow")
async def slow(event: Event) -> None:
    """A neighbour that keeps a partition's records from being done."""
    await asyncio.sleep(event.data["v"])


async def test_a_partition_with_unread_records_is_not_quiet() -> None:
    """Behind a backlog it is we who are silent: its next events would come too late."""
    document = config(size_s=10, lateness_s=2, idle_s=5)
    handlers = document["pipelines"]["test"]["handlers"]
    handlers["slow"] = {"use": "rolling_tests_slow", "timeout_s": 600}
    async with Harness(document) as service:
        await service.send(as_data(("a", _START_MS, 100.0)))
        await service.advance(99)
        assert service.outputs() == []
        await service.settle()
        await service.advance(9)
        assert service.outputs() == []
        await service.advance(5)

        assert [report["count"] for report in service.outputs()] == [1]


async def test_behind_a_circuit_breaker_no_event_is_acknowledged_before_its_window_is_kept() -> (
    None
):
    broker = MemoryBroker()
    document = config(size_s=10, lateness_s=0, idle_s=5)
    document["pipelines"]["test"]["handlers"]["handler"]["circuit_breaker"] = {"failures": 3}
    async with Harness(document, broker=broker) as first:
        for n in range(3):
            await first.send(as_data(("a", _START_MS + n, 1.0)))
        await first.advance(0.4)  # commits are every 0.1 s, changelogs written once a second
        await first.kill()
    async with Harness(document, broker=broker) as second:
        await second.settle()
        await second.advance(16)

        assert [report["count"] for report in second.outputs()] == [3]


async def test_a_restart_closes_what_the_process_before_has_opened() -> None:
    broker = MemoryBroker()
    document = config(size_s=10, lateness_s=0, idle_s=5)
    async with Harness(document, broker=broker) as first:
        await first.send(as_data(("a", _START_MS, 1.0)))
        await first.settle()
        await first.kill()

    async with Harness(document, broker=broker) as second:
        await second.advance(15)

        assert [report["count"] for report in second.outputs()] == [1]


async def test_a_restart_does_not_open_closed_windows_again() -> None:
    broker = MemoryBroker()
    document = config(size_s=10, lateness_s=0, late_topic="late")
    broker.create_topic("late")
    async with Harness(document, broker=broker) as first:
        await first.send(as_data(("a", _START_MS, 1.0)))
        await first.send(as_data(("a", _START_MS + 20_000, 1.0)))
        await first.settle()
        await first.kill()

    async with Harness(document, broker=broker) as second:
        await second.send(as_data(("a", _START_MS, 2.0)))
        await second.settle()

        assert [late["value"] for late in second.outputs("late")] == [2.0]


async def test_sessions_end_after_their_gap_and_leave_the_state_empty() -> None:
    document = config(window="session", size_s=5, lateness_s=0)
    async with Harness(document) as service:
        for number in range(2_000):
            await service.send(as_data((f"s{number}", _START_MS + number * 100, 1.0)))
        await service.settle()
        await service.advance(40)

        assert len(service.outputs()) == 2_000
        latest = {
            record.key: record.value
            for record in service.records("test-test-handler-windows-changelog")
        }
        assert set(latest.values()) <= {None}
        assert service.application.pipelines["test"].counters.handler("handler").state_keys == 1


async def test_many_windows_that_end_at_once_all_come_out() -> None:
    async with Harness(config(size_s=10, lateness_s=0)) as service:
        for number in range(3_000):
            await service.send(as_data((f"k{number}", _START_MS, 1.0)))
        await service.send(as_data(("last", _START_MS + 10_000, 1.0)))
        await service.settle()
        await service.advance(3)

        assert len(service.outputs()) == 3_000
        assert service.dead_letters() == []


async def test_windows_that_end_together_come_out_in_parts() -> None:
    async with Harness(config(size_s=10, lateness_s=0)) as service:
        for number in range(1_200):
            await service.send(as_data((f"k{number}", _START_MS, 1.0)))
        await service.settle()
        (branch,) = service.application.pipelines["test"].pipeline.branches
        tick = branch.dispatcher.handler.tick

        assert tick is not None
        now_s = asyncio.get_running_loop().time()
        parts = [len(tick(now_s + later_s)) for later_s in (0, 1_000, 1_000, 1_000, 1_000)]

    assert parts == [0, 500, 500, 200, 0]


async def test_a_tick_with_much_to_say_is_not_the_last_of_its_second() -> None:
    async with Harness(config(size_s=10, lateness_s=0, idle_s=5)) as service:
        for number in range(1_200):
            await service.send(as_data((f"k{number}", _START_MS, 1.0)))
        await service.settle()

        await service.advance(9)
        assert service.outputs() == []
        while not service.outputs():
            await service.advance(0.1)
        await service.advance(0.5)

        assert len(service.outputs()) == 1_200


async def test_what_comes_after_the_wall_clock_took_over_closes_as_early_as_it_may() -> None:
    async with Harness(config(size_s=10, lateness_s=0, idle_s=5)) as service:
        await service.send(as_data(("a", _START_MS, 1.0)))
        await service.advance(8.5)  # event time is 7 s or 8 s after the start now
        await service.send(as_data(("a", _START_MS + 6_900, 1.0)))
        await service.settle()

        await service.advance(5 + 1.5)

        assert [report["count"] for report in service.outputs()] == [2]


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ({"window": "count", "count": 3}, [3, 3]),
        ({"window": "sliding", "size_s": 2, "lateness_s": 0}, [1, 2, 3, 3, 3, 3, 3, 3]),
        ({"window": "tumbling", "size_s": 100, "emit": "update"}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"window": "hopping", "size_s": 4, "advance_s": 2, "lateness_s": 0}, [2, 4, 4]),
    ],
    ids=["count", "sliding", "updates", "hopping"],
)
async def test_each_kind_of_window_tells_what_it_has_counted(
    options: dict[str, Any], counts: list[int]
) -> None:
    async with Harness(config(idle_s=1000, **options)) as service:
        for second in range(8):
            await service.send(as_data(("a", _START_MS + second * 1000, 1.0)))
        await service.settle()

        assert [report["count"] for report in service.outputs()] == counts


async def test_numbers_that_cannot_be_added_up_are_dead_lettered() -> None:
    async with Harness(config()) as service:
        await service.send({"k": "a", "t": _START_MS, "v": 1e200})
        await service.send({"k": "a", "t": _START_MS, "v": "no number"})
        await service.settle()

        assert [letter.code for letter in service.dead_letters()] == ["schema", "schema"]


@pytest.mark.parametrize("unit", [1_000, 1_000_000, 1e280], ids=["us", "ns", "none at all"])
async def test_a_time_in_another_unit_does_not_end_the_windows_of_everybody(unit: float) -> None:
    async with Harness(config(size_s=1, lateness_s=0)) as service:
        await service.send({"k": "a", "t": _START_MS, "v": 1})
        await service.send({"k": "a", "t": _START_MS * unit, "v": 2})
        await service.send({"k": "a", "t": -_START_MS * unit, "v": 2})
        await service.send({"k": "a", "t": _START_MS + 10, "v": 3})
        await service.settle()
        await service.advance(40)

        assert [(told["count"], told["max"]) for told in service.outputs()] == [(2, 3)]
        assert [letter.code for letter in service.dead_letters()] == ["schema", "schema"]


async def test_a_record_stamped_in_another_unit_does_not_either() -> None:
    async with Harness(config(size_s=1, lateness_s=0, time=None)) as service:
        await service.send({"k": "a", "v": 1}, timestamp=_START_MS)
        await service.send({"k": "a", "v": 2}, timestamp=_START_MS * 1_000)
        await service.send({"k": "a", "v": 3}, timestamp=_START_MS + 10)
        await service.settle()
        await service.advance(40)

        assert [(told["count"], told["max"]) for told in service.outputs()] == [(2, 3)]
        assert [letter.code for letter in service.dead_letters()] == ["schema"]


async def test_a_bad_value_in_a_run_is_the_only_one_that_is_not_counted() -> None:
    async with Harness(config(size_s=10, lateness_s=0)) as service:
        events: list[dict[str, Any]] = [as_data(("a", _START_MS, 1.0))] * 50
        events[20] = {"k": "a", "t": _START_MS, "v": "bad"}
        await service.send_all(events)
        await service.send(as_data(("b", _START_MS + 10_000, 1.0)))
        await service.settle()

        assert [letter.code for letter in service.dead_letters()] == ["schema"]
        assert [report["count"] for report in service.outputs()] == [49]


@pytest.mark.parametrize(
    "options",
    [
        {"window": "tumbling", "size_s": 5},
        {"window": "tumbling", "size_s": 5, "emit": "update"},
        {"window": "hopping", "size_s": 6, "advance_s": 2},
        {"window": "sliding", "size_s": 3},
        {"window": "session", "size_s": 0.5},
        {"window": "count", "count": 7},
    ],
    ids=["tumbling", "updates", "hopping", "sliding", "session", "count"],
)
async def test_a_run_of_events_says_what_they_say_one_by_one(options: dict[str, Any]) -> None:
    events = generated(400, keys=6, disorder_ms=3_000)
    told = []
    for broken in (False, True):  # a run with a bad value in it is handled one by one
        document = config(lateness_s=1, idle_s=1000, late_topic="late", **options)
        async with Harness(document) as service:
            service.broker.create_topic("late")
            if broken:
                await service.send({"k": "a", "t": _START_MS, "v": "bad"})
            await service.send_all(map(as_data, events))
            await service.settle()
            told.append((service.outputs(), service.outputs("late")))

    assert told[0] == told[1]
    assert told[0][0]


def test_an_advance_beyond_the_size_is_refused() -> None:
    with pytest.raises(ValidationError, match="advance_s"):
        RollingMetricsOptions(window="hopping", size_s=1, advance_s=2)
