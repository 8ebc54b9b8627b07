import asyncio

import pytest

from service import streams
from service.streams import ReceiverStream
from tests.unit.streams.feed import Feed, settle


async def test_chunks_are_full_except_the_last() -> None:
    assert await streams.iter(range(5)).chunks(2).collect() == [[0, 1], [2, 3], [4]]


async def test_str_12_chunks_keeps_a_partial_list_when_the_wait_is_cancelled() -> None:
    feed = Feed(1, 2)
    async with ReceiverStream(feed).chunks(3) as stream:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await anext(stream)

        feed.push(3, 4)

        assert await anext(stream) == [1, 2, 3]
        assert list(feed.items) == [4]


async def test_str_13_ready_chunks_never_waits_once_it_has_an_item() -> None:
    feed = Feed(1, 2)
    async with ReceiverStream(feed).ready_chunks(3) as stream:
        assert await anext(stream) == [1, 2]
        feed.push(3, 4, 5, 6)
        assert await anext(stream) == [3, 4, 5]
        assert await anext(stream) == [6]
        assert asyncio.get_running_loop().time() == 0.0


async def test_ready_chunks_are_full_when_the_source_always_has_items() -> None:
    sizes = await streams.repeat(0).take(2500).ready_chunks(1000).map(len).collect()

    assert sizes == [1000, 1000, 500]


async def test_ready_chunks_loses_nothing_when_it_is_cancelled_between_two_turns() -> None:
    received: list[int] = []
    async with streams.iter(range(5000)).ready_chunks(1000) as stream:
        for steps in range(40):
            waiting = asyncio.get_running_loop().create_task(anext(stream))
            for _ in range(steps % 7):
                await asyncio.sleep(0)  # lets it get a little further
            waiting.cancel()
            await settle()
            if not waiting.cancelled() and waiting.exception() is None:
                received += waiting.result()
        async for items in stream:
            received += items

    assert received == list(range(5000))


@pytest.mark.parametrize("name", ["chunks", "ready_chunks", "try_chunks", "try_ready_chunks"])
def test_a_size_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="size"):
        getattr(streams.empty(), name)(0)


async def test_str_05_zip_ends_with_the_shorter_and_loses_what_the_longer_had_ready() -> None:
    longer = streams.iter(range(5))

    pairs = await streams.iter("ab").zip(longer.by_ref()).collect()

    assert pairs == [("a", 0), ("b", 1)]
    assert await longer.collect() in ([2, 3, 4], [3, 4])


async def test_zip_waits_for_both_at_once() -> None:
    pairs = await streams.interval(2).zip(streams.interval(3)).take(3).collect()

    assert pairs == [(0.0, 0.0), (2.0, 3.0), (4.0, 6.0)]
    assert asyncio.get_running_loop().time() == 6.0


async def test_str_06_chain_asks_the_second_only_after_the_end_of_the_first() -> None:
    first, second = Feed(1), Feed(2, ended=True)
    async with ReceiverStream(first).chain(ReceiverStream(second)) as stream:
        assert await anext(stream) == 1
        waiting = asyncio.get_running_loop().create_task(anext(stream))
        await settle()
        assert second.largest_ask == 0

        first.close()

        assert await waiting == 2


async def test_str_14_a_failed_next_if_puts_the_item_back() -> None:
    stream = streams.iter([1, 2, 3]).peekable()

    assert await stream.next_if(lambda n: n == 2) is None
    assert await stream.peek() == 1
    assert await stream.next_if(lambda n: n == 1) == 1
    assert await stream.next_if_eq(2) == 2
    assert await stream.next_if_eq(9, "default") == "default"
    assert await stream.collect() == [3]


async def test_peeking_at_the_end_returns_the_default() -> None:
    stream = streams.iter("").peekable()

    assert await stream.peek() is None
    assert await stream.peek("end") == "end"
    assert await stream.next_if(bool, "end") == "end"


async def test_a_peeked_item_is_not_lost_by_a_combinator() -> None:
    stream = streams.iter([1, 2]).peekable()
    await stream.peek()

    assert await stream.map(str).collect() == ["1", "2"]
