"""What `rolling_metrics` knows of the ends of its windows, and how it closes many of them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError
from service.events import EventBatch, RecordBatch, Result, SourceRecord
from service.handlers import Clients, HandlerContext, load_handler
from service.handlers.rolling_metrics import RollingMetrics
from service.handlers.rolling_options import RollingMetricsOptions
from service.state.keyed import Partition
from service.state.store import LoggedStore
from service.testing.harness import Harness, pipeline_of

load_handler("rolling_metrics")  # importing reads files, which a coroutine must not do

_START_MS = 1_700_000_000_000
_PLACE = ("input", 0)


class Opened:
    """The handler with a state of its own, given runs of ``(key, ms after the start)``."""

    def __init__(self, handler: RollingMetrics, store: LoggedStore) -> None:
        self.handler = handler
        self.store = store

    def events(self, *places: tuple[str, int]) -> list[dict[str, Any]]:
        """What one run of events says."""
        records = [SourceRecord(b"", key=key.encode()) for key, _ in places]
        batch = RecordBatch(*_PLACE, records, next_offset=len(records))
        data = [{"t": _START_MS + at_ms, "v": 1} for _, at_ms in places]
        told = self.handler.handle_many(EventBatch(batch, data), range(len(data)))
        self.store.settle()
        return [result.value for _, results in told for result in results]

    def tick(self) -> list[Result]:
        """What time says."""
        told = self.handler.tick(asyncio.get_running_loop().time())
        self.store.settle()
        return told

    @property
    def remembered(self) -> int:
        """Entries in the index of ends."""
        return len(self.handler._partitions[_PLACE].ends)


@pytest.fixture
def open_with() -> Callable[..., Awaitable[Opened]]:
    async def opened(**options: Any) -> Opened:
        model = RollingMetricsOptions(value="v", time="t", idle_s=100_000, **options)
        handler = RollingMetrics(model)
        store = LoggedStore(asyncio.get_running_loop().time)
        context = HandlerContext(
            pipeline="p",
            handler="h",
            options=model,
            clients=Clients(),
            state=store,
            emit=lambda _: asyncio.sleep(0),
        )
        await handler.open(context)
        return Opened(handler, store)

    return opened


async def test_a_count_window_leaves_nothing_to_wait_for(
    open_with: Callable[..., Awaitable[Opened]],
) -> None:
    rolling = await open_with(window="count", count=2)

    told = rolling.events(*[("a", second) for second in range(100)])

    assert len(told) == 50
    assert rolling.remembered == 0


async def test_windows_that_were_opened_backwards_leave_one_end_a_key(
    open_with: Callable[..., Awaitable[Opened]],
) -> None:
    """As of a device that uploads what it has kept, newest first."""
    rolling = await open_with(size_s=1, lateness_s=500)
    rolling.events(*[("a", second * 1_000) for second in range(500, 0, -1)])

    told = [rolling.events(("b", second * 1_000)) for second in range(501, 1_001)]

    assert [len(some) for some in told] == [0] + [1] * 499
    assert rolling.remembered <= 3  # one each, and one that another has replaced


async def test_ends_that_were_seen_do_not_keep_others_from_being_seen(
    open_with: Callable[..., Awaitable[Opened]],
) -> None:
    rolling = await open_with(size_s=1, lateness_s=1_000)
    rolling.events(*[("a", second * 1_000) for second in range(1_000, 0, -1)])
    rolling.events(("c", 1_001_000))
    for second in range(1_002, 2_001):
        rolling.events(("b", second * 1_000))

    told = rolling.events(("b", 2_002_000))

    assert [report["key"] for report in told] == ["a", "c"]


async def test_windows_of_one_key_come_out_in_parts_however_many_are_over_at_once() -> None:
    options = {
        "key": "k",
        "value": "v",
        "time": "t",
        "window": "hopping",
        "size_s": 1_800,
        "advance_s": 1,
        "idle_s": 100_000,
    }
    async with Harness(pipeline_of("rolling_metrics", options=options)) as service:
        await service.send({"k": "a", "t": _START_MS, "v": 1})
        await service.settle()
        await service.send({"k": "b", "t": _START_MS + 7_200_000, "v": 1})
        await service.settle()
        told = len(service.outputs())
        await service.advance(3)

        assert service.dead_letters() == []
        assert told < 1_800
        starts = [report["start"] for report in service.outputs() if report["count"] == 1]
        assert starts == [_START_MS - back * 1_000 for back in range(1_799, -1, -1)]


def test_more_windows_than_one_event_can_tell_of_are_refused() -> None:
    options = {"window": "hopping", "size_s": 3_600, "advance_s": 1}

    load_handler("rolling_metrics").bind(options)
    with pytest.raises(ConfigurationError, match="3600 windows at each value"):
        load_handler("rolling_metrics").bind({**options, "emit": "update"})


async def test_on_disk_a_run_of_more_keys_than_fit_into_memory_counts_every_value(
    tmp_path: Path,
) -> None:
    pytest.importorskip("rocksdict")
    options = {"key": "k", "value": "v", "time": "t", "size_s": 10, "lateness_s": 0}
    document = pipeline_of("rolling_metrics", options=options)
    document["state"] = {"store": "rocksdb", "directory": str(tmp_path), "cache_keys": 4}
    async with Harness(document) as service:
        values = [{"k": f"k{n % 50}", "t": _START_MS + n, "v": n} for n in range(200)]
        await service.send_all(values[:100])
        await service.settle()
        await service.send_all(values[100:])
        await service.send({"k": "end", "t": _START_MS + 10_000, "v": 0})
        await service.settle()

        counts = {report["key"]: report["count"] for report in service.outputs()}
        assert counts == {f"k{n}": 4 for n in range(50)}


async def test_a_connection_that_is_gone_is_forgotten_when_its_windows_are_told(
    open_with: Callable[..., Awaitable[Opened]],
) -> None:
    rolling = await open_with(size_s=10, lateness_s=0)
    rolling.events(("a", 0))
    await rolling.handler.assigned("input", 1)
    rolling.events(("a", 10_000))
    await asyncio.sleep(3_000)
    told = rolling.tick()
    await asyncio.sleep(100_000)
    told += rolling.tick() + rolling.tick()
    await asyncio.sleep(1)
    told += rolling.tick()

    assert len(told) == 1
    assert set(rolling.handler._partitions) == {("input", 1)}
    assert rolling.handler._times.get(Partition(*_PLACE), "newest") is None


async def test_count_windows_of_a_connection_that_is_gone_are_forgotten(
    open_with: Callable[..., Awaitable[Opened]],
) -> None:
    rolling = await open_with(window="count", count=3)
    rolling.events(("a", 0), ("b", 0))
    rolling.tick()
    await asyncio.sleep(3_000)
    rolling.tick()
    kept = rolling.handler._windows.partitions()
    await asyncio.sleep(1_000)
    rolling.tick()

    assert kept == [_PLACE]
    assert rolling.handler._windows.partitions() == []
    assert rolling.handler._partitions == {}
