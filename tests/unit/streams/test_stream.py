import asyncio

import pytest

from service import streams
from service.errors import StreamError
from service.streams import ReceiverStream
from tests.unit.streams.feed import Feed, settle


async def test_a_channel_becomes_a_stream() -> None:
    feed = Feed(1, 2, 3, ended=True)

    assert [item async for item in ReceiverStream(feed)] == [1, 2, 3]


async def test_close_ends_the_intake_and_delivers_what_is_there() -> None:
    stream = ReceiverStream(Feed(1, 2))
    doubled = stream.map(lambda n: n * 2)

    stream.close()

    assert await doubled.collect() == [2, 4]


async def test_items_move_in_chunks_of_the_asked_size() -> None:
    chunks: list[list[int]] = []

    await ReceiverStream(Feed(*range(10), ended=True), chunk=4).for_each_chunk(chunks.append)

    assert chunks == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_chunk_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="chunk"):
        ReceiverStream(Feed[int](), chunk=0)


async def test_using_a_moved_stream_is_an_error() -> None:
    stream = streams.iter([1, 2])
    stream.map(str)

    with pytest.raises(StreamError, match="by_ref"):
        await anext(stream)
    with pytest.raises(StreamError, match="by_ref"):
        stream.map(str)


async def test_a_moved_stream_keeps_no_copy_of_what_iteration_held() -> None:
    stream = streams.iter([1, 2, 3]).peekable()
    assert await anext(stream) == 1
    moved = stream.map(str)

    with pytest.raises(StreamError, match="by_ref"):
        await anext(stream)
    with pytest.raises(StreamError, match="by_ref"):
        await stream.peek()

    assert await moved.collect() == ["2", "3"]


async def test_closing_a_moved_stream_is_left_to_its_new_owner() -> None:
    stream = streams.iter([1, 2])
    moved = stream.map(str)

    await stream.aclose()

    assert await moved.collect() == ["1", "2"]


async def test_items_that_iteration_holds_are_not_lost_by_a_combinator() -> None:
    stream = streams.iter([1, 2, 3, 4])
    assert await anext(stream) == 1

    assert await stream.map(str).collect() == ["2", "3", "4"]


async def test_by_ref_leaves_the_rest() -> None:
    stream = streams.iter([1, 2, 3, 4])

    async with stream.by_ref().map(str) as loan:
        assert await anext(loan) == "1"

    assert await stream.collect() == [2, 3, 4]


async def test_finishers_accept_sync_and_async_functions() -> None:
    seen: list[int] = []

    async def see(item: int) -> None:
        await asyncio.sleep(1)
        seen.append(item)

    async def add(total: int, item: int) -> int:
        return total + item

    async def is_two(item: int) -> bool:
        return item == 2

    await streams.iter([1, 2]).for_each(see)
    await streams.iter([3]).for_each(seen.append)

    assert seen == [1, 2, 3]
    assert asyncio.get_running_loop().time() == 2.0
    assert await streams.iter([1, 2]).fold(0, add) == 3
    assert await streams.iter([1, 2]).fold("", lambda text, n: f"{text}{n}") == "12"
    assert await streams.iter([1, 2]).any(is_two)
    assert not await streams.iter([1, 2]).all(is_two)


async def test_any_of_nothing_is_false_and_all_of_nothing_is_true() -> None:
    assert not await streams.empty().any(bool)
    assert await streams.empty().all(bool)


async def test_a_finisher_closes_the_stream_when_its_function_fails() -> None:
    feed = Feed(1)

    def fail(item: int) -> None:
        raise ValueError(item)

    with pytest.raises(ValueError, match="1"):
        await ReceiverStream(feed).for_each(fail)
    assert feed.dropped


async def test_a_cancelled_finisher_closes_the_stream() -> None:
    feed = Feed[int]()
    counting = asyncio.get_running_loop().create_task(ReceiverStream(feed).count())
    await settle()

    counting.cancel()
    await settle()

    assert counting.cancelled()
    assert feed.dropped


async def test_an_endless_ready_stream_lets_other_tasks_run() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)  # lets the stream run
            turns += 1

    counting = asyncio.get_running_loop().create_task(count_turns())
    await streams.repeat(1).take(12_800).for_each(lambda _: None)
    counting.cancel()

    assert turns >= 12_800 // 256 - 2


async def test_the_small_sources() -> None:
    numbers = iter(range(10))

    assert await streams.once("x").collect() == ["x"]
    assert await streams.empty().collect() == []
    assert await streams.repeat("x").take(2).collect() == ["x", "x"]
    assert await streams.repeat_with(lambda: next(numbers)).take(2).collect() == [0, 1]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await streams.pending().count()
