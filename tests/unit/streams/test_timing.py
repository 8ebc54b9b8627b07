import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from service import streams
from service.streams import Err, Ok, ReceiverStream, Stream
from tests.unit.streams.feed import Feed, settle


def now_s() -> float:
    return asyncio.get_running_loop().time()


@streams.stream
async def after(*delays_s: float) -> AsyncIterator[float]:
    """Yield the time after each delay."""
    for delay_s in delays_s:
        await asyncio.sleep(delay_s)
        yield now_s()


async def test_str_16_a_timeout_is_told_once_until_the_next_item_comes() -> None:
    items = await after(1, 10, 1).timeout(2).collect()

    assert [item.value if isinstance(item, Ok) else "late" for item in items] == [
        1.0,
        "late",
        11.0,
        12.0,
    ]


async def test_a_repeating_timeout_is_told_again_and_again() -> None:
    items = await after(1, 7).timeout_repeating(2).collect()

    assert [item.value if isinstance(item, Ok) else "late" for item in items] == [
        1.0,
        "late",
        "late",
        "late",
        8.0,
    ]


async def test_a_timeout_carries_how_long_it_waited() -> None:
    async with streams.pending().timeout(2.5) as stream:
        item = await anext(stream)

    assert isinstance(item, Err)
    assert item.error.timeout_s == 2.5
    assert now_s() == 2.5


async def test_the_first_wait_counts_from_the_construction() -> None:
    async with streams.pending().timeout(5) as stream:
        await asyncio.sleep(4)

        await anext(stream)

        assert now_s() == 5.0


async def test_an_item_that_is_ready_wins_over_the_clock() -> None:
    feed = Feed(1)
    async with ReceiverStream(feed).timeout(5) as stream:
        await asyncio.sleep(60)

        assert await anext(stream) == Ok(1)


async def test_str_17_throttle_lets_the_first_pass_at_once_and_spaces_the_rest() -> None:
    times = await streams.iter(range(3)).throttle(2).map(lambda _: now_s()).collect()

    assert times == [0.0, 2.0, 4.0]


async def test_throttle_does_not_ask_the_source_before_its_time() -> None:
    feed = Feed(1, 2)
    async with ReceiverStream(feed).throttle(10) as stream:
        await anext(stream)
        waiting = asyncio.get_running_loop().create_task(anext(stream))
        await asyncio.sleep(9)
        assert len(feed.items) == 1

        await waiting

        assert now_s() == 10.0


async def test_a_throttle_of_zero_does_nothing() -> None:
    assert await streams.iter(range(1000)).throttle(0).count() == 1000
    assert now_s() == 0.0


async def test_str_18_the_clock_of_a_list_starts_with_its_first_item() -> None:
    times: list[tuple[float, int]] = []

    await (
        after(1, 1, 10, 0.5)
        .chunks_timeout(100, 3)
        .for_each(lambda items: times.append((now_s(), len(items))))
    )

    assert times == [(4.0, 2), (12.5, 2)]


async def test_a_full_list_does_not_wait_for_the_clock() -> None:
    async with streams.repeat(0).chunks_timeout(3, 1000) as stream:
        assert await anext(stream) == [0, 0, 0]

    assert now_s() == 0.0


async def test_an_empty_list_is_never_returned() -> None:
    feed = Feed[int]()
    async with ReceiverStream(feed).chunks_timeout(3, 1) as stream:
        waiting = asyncio.get_running_loop().create_task(anext(stream))
        await asyncio.sleep(100)
        assert not waiting.done()

        feed.push(1)

        assert await waiting == [1]
        assert now_s() == 101.0


async def test_items_that_are_ready_are_taken_before_the_clock_is_looked_at() -> None:
    feed = Feed(1)
    async with ReceiverStream(feed).chunks_timeout(3, 1) as stream:
        waiting = asyncio.get_running_loop().create_task(anext(stream))
        await settle()
        waiting.cancel()
        await asyncio.sleep(60)
        feed.push(2)

        assert await anext(stream) == [1, 2]


def test_a_list_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="size"):
        streams.empty().chunks_timeout(0, 1)


async def test_an_interval_starts_at_once_and_keeps_its_rhythm() -> None:
    async with streams.interval(10) as ticks:
        assert await anext(ticks) == 0.0
        await asyncio.sleep(25)

        assert [await anext(ticks) for _ in range(3)] == [10.0, 20.0, 30.0]
        assert now_s() == 30.0


async def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="period_s"):
        streams.interval(0)


async def test_str_04_take_until_looks_at_the_stop_before_the_items() -> None:
    stop = asyncio.get_running_loop().create_future()
    stop.set_result(None)

    assert await streams.repeat(1).take_until(stop).collect() == []


async def test_a_stop_that_needs_no_wait_comes_before_the_first_item() -> None:
    async def stop() -> None:
        return

    assert await streams.repeat(1).take_until(stop()).collect() == []


async def test_take_until_ends_a_wait() -> None:
    ticks = await streams.interval(1).take_until(asyncio.sleep(2.5)).collect()

    assert ticks == [0.0, 1.0, 2.0]
    assert now_s() == 2.5


async def test_take_until_leaves_a_future_of_others_alone() -> None:
    stop = asyncio.get_running_loop().create_future()

    assert await streams.iter([1]).take_until(stop).collect() == [1]

    assert not stop.done()


async def test_how_the_stop_ends_is_of_no_interest() -> None:
    async def stop() -> None:
        await asyncio.sleep(1)
        raise RuntimeError("of no interest")

    assert await streams.pending().take_until(stop()).collect() == []


async def test_a_stop_that_never_ran_is_closed_with_the_stream() -> None:
    stream = streams.iter([1]).take_until(asyncio.sleep(1))

    await stream.aclose()  # an unawaited coroutine would warn, and a warning fails the test


@pytest.mark.parametrize("name", ["timeout", "timeout_repeating"])
async def test_a_deadline_that_no_clock_can_show_exactly_is_met(name: str) -> None:
    """0.1 + 0.2 is more than 0.3, where the clock of whole nanoseconds stands."""
    async with getattr(after(0.1, 5), name)(0.2) as stream:
        assert isinstance(await anext(stream), Ok)

        assert isinstance(await anext(stream), Err)

    assert now_s() == 0.3


async def test_a_list_whose_deadline_no_clock_can_show_exactly_is_handed_out() -> None:
    async with after(0.1, 5).chunks_timeout(2, 0.2) as stream:
        assert await anext(stream) == [0.1]

    assert now_s() == 0.3


WAITING: dict[str, Callable[[], Stream[Any]]] = {
    "throttle": lambda: streams.repeat(1).throttle(3600),
    "interval": lambda: streams.interval(3600),
    "pending": lambda: streams.once(1).chain(streams.pending()),
}


@pytest.mark.parametrize("waiting_for", WAITING)
async def test_closing_does_not_wait_for_a_clock(waiting_for: str) -> None:
    stream = WAITING[waiting_for]()
    await anext(stream)
    waiting = asyncio.get_running_loop().create_task(anext(stream, "end"))
    await settle()

    await stream.aclose()

    assert await waiting == "end"
    assert now_s() == 0.0


async def test_take_until_looks_at_a_future_that_is_done_just_now_before_the_items() -> None:
    stop = asyncio.get_running_loop().create_future()
    async with streams.iter(range(9)).take_until(stop).chunks(1) as stream:
        assert await anext(stream) == [0]
        stop.set_result(None)

        assert [chunk async for chunk in stream] == []


async def test_a_stream_that_is_closed_watches_its_stop_no_more() -> None:
    class Counted(asyncio.Future[None]):
        watchers = 0

        def add_done_callback(self, *args: Any, **context: Any) -> None:
            self.watchers += 1
            super().add_done_callback(*args, **context)

        def remove_done_callback(self, *args: Any) -> int:
            removed = super().remove_done_callback(*args)
            self.watchers -= removed
            return removed

    stop = Counted()
    async with streams.iter(range(9)).take_until(stop) as stream:
        await anext(stream)
        assert stop.watchers == 1

    assert stop.watchers == 0


RESTING: dict[str, Callable[[], Stream[Any]]] = {
    "interval": lambda: streams.interval(1),
    "chunks_timeout": lambda: streams.iter([1]).chain(streams.pending()).chunks_timeout(2, 0),
    "timeout": lambda: streams.iter([1]).chain(streams.pending()).timeout(0),
}


@pytest.mark.parametrize("source", RESTING)
async def test_a_source_that_only_rests_does_not_hold_up_what_is_ready(source: str) -> None:
    async with RESTING[source]().ready_chunks(10) as chunks:
        await asyncio.sleep(5)

        assert len(await anext(chunks)) >= 1
