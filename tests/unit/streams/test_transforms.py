from collections.abc import Callable

import pytest

from service import streams
from service.streams import Stream
from tests.unit.streams.feed import Feed


def even(number: int) -> bool:
    return number % 2 == 0


async def test_map_filter_map_is_what_it_says() -> None:
    stream = streams.iter(range(10)).map(lambda n: n + 1).filter(even).map(str)

    assert await stream.collect() == ["2", "4", "6", "8", "10"]


async def test_consecutive_sync_combinators_are_one_stage() -> None:
    stream = streams.iter(range(3)).map(str).inspect(len).filter(None.__ne__).enumerate()

    assert len(stream._stage._sources) == 1
    assert stream._stage._sources[0]._sources == ()


async def test_an_item_passes_every_function_before_the_next_one_starts() -> None:
    seen: list[str] = []

    def note(name: str) -> Callable[[int], None]:
        return lambda item: seen.append(f"{name}{item}")

    await streams.iter(range(2)).inspect(note("a")).inspect(note("b")).count()

    assert seen == ["a0", "b0", "a1", "b1"]


async def test_items_before_an_exception_arrive_and_the_stream_ends_after_it() -> None:
    stream = streams.iter([1, 2, 0, 4]).map(lambda n: 4 // n)

    assert [await anext(stream), await anext(stream)] == [4, 2]
    with pytest.raises(ZeroDivisionError):
        await anext(stream)
    assert await stream.collect() == []


@pytest.mark.parametrize("stray", [1, 2, 3])
@pytest.mark.parametrize("name", ["map", "filter", "filter_map", "inspect", "skip_while", "dedup"])
async def test_a_stray_stop_iteration_does_not_swallow_items(name: str, stray: int) -> None:
    def function(number: int) -> bool:
        return next(iter(())) if number == stray else True

    with pytest.raises(RuntimeError, match="StopIteration"):
        await getattr(streams.iter([1, 2, 3]), name)(function).collect()


async def test_filter_map_drops_none_and_keeps_other_false_values() -> None:
    stream = streams.iter([0, 1, 2, 3]).filter_map(lambda n: n if even(n) else None)

    assert await stream.collect() == [0, 2]


async def test_enumerate_goes_on_across_chunks() -> None:
    numbered = await streams.iter("x" * 600).enumerate(1).collect()

    assert numbered[-1] == (600, "x")


async def test_dedup_drops_repetitions_across_chunks_but_not_returns() -> None:
    items = [1] * 300 + [2] + [1] * 2

    assert await streams.iter(items).dedup().collect() == [1, 2, 1]
    assert await streams.iter(["a", "A", "b"]).dedup(str.lower).collect() == ["a", "b"]


async def test_skip_and_skip_while_and_step_by() -> None:
    assert await streams.iter(range(300)).skip(298).collect() == [298, 299]
    assert await streams.iter(range(2)).skip(5).collect() == []
    assert await streams.iter([1, 2, 3, 1]).skip_while(lambda n: n < 3).collect() == [3, 1]
    assert await streams.iter(range(600)).step_by(250).collect() == [0, 250, 500]
    with pytest.raises(ValueError, match="step"):
        streams.iter([1]).step_by(0)


async def test_scan_threads_a_state_and_ends_when_told() -> None:
    def add(total: int, item: int) -> tuple[int, int] | None:
        return None if total > 5 else (total + item, total + item)

    assert await streams.iter(range(100)).scan(0, add).collect() == [0, 1, 3, 6]


async def test_take_pulls_no_item_after_the_last() -> None:
    feed = Feed(*range(10))

    taken = await streams.ReceiverStream(feed).take(3).collect()

    assert taken == [0, 1, 2]
    assert feed.largest_ask == 3


async def test_str_01_take_zero_is_empty_and_asks_nobody() -> None:
    feed = Feed[int]()

    assert await streams.ReceiverStream(feed).take(0).collect() == []
    assert feed.largest_ask == 0


async def test_str_02_take_while_consumes_the_item_that_ends_it() -> None:
    source = streams.iter([1, 2, 9, 3, 4])

    head = await source.by_ref().take_while(lambda n: n < 5).collect()

    assert head == [1, 2]
    assert await source.collect() == [3, 4]


async def test_map_while_ends_at_none() -> None:
    assert await streams.iter("12x3").map_while(
        lambda c: int(c) if c.isdigit() else None
    ).collect() == [1, 2]


async def test_map_chunks_sees_lists_and_its_results_are_cut_to_what_is_asked() -> None:
    doubled = streams.iter(range(3)).map_chunks(lambda chunk: [*chunk, *chunk])

    assert await doubled.take(4).collect() == [0, 1, 2, 0]


async def test_a_long_result_of_map_chunks_is_handed_out_piece_by_piece() -> None:
    stream = streams.iter([0, 1]).map_chunks(lambda chunk: [*range(5)] if chunk[0] == 0 else [])

    assert await stream.by_ref().take(2).collect() == [0, 1]
    assert await stream.collect() == [2, 3, 4]


async def test_map_chunks_may_return_nothing() -> None:
    def drop_first(chunk: list[int]) -> list[int]:
        return [] if chunk[0] == 0 else chunk

    assert len(await streams.iter(range(300)).map_chunks(drop_first).collect()) == 44


@pytest.mark.parametrize("name", ["take", "skip"])
async def test_counts_of_nothing_are_fine(name: str) -> None:
    stream: Stream[int] = getattr(streams.iter(range(3)), name)(0)

    assert await stream.count() == (0 if name == "take" else 3)


async def test_scan_hands_out_its_results_before_the_exception_of_its_function() -> None:
    def step(_: int, item: int) -> tuple[int, int]:
        return 0, 6 // item

    stream = streams.iter([2, 3, 0, 1]).scan(0, step)

    assert [await anext(stream), await anext(stream)] == [3, 2]
    with pytest.raises(ZeroDivisionError):
        await anext(stream)
    with pytest.raises(ZeroDivisionError):
        await streams.iter([0]).scan(0, step).collect()


async def test_an_iterable_that_fails_at_once_fails_the_stream() -> None:
    with pytest.raises(ZeroDivisionError):
        await streams.iter(1 // number for number in [0]).collect()
