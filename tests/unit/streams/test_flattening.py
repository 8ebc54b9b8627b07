import asyncio

import pytest

from service import streams
from service.streams import ReceiverStream, Stream
from tests.unit.streams.feed import Feed, settle


async def test_flatten_goes_through_one_inner_stream_after_the_other() -> None:
    assert await streams.iter([[1, 2], [], [3]]).flatten().collect() == [1, 2, 3]
    assert await streams.iter([1, 3]).flat_map(lambda n: [n, n + 1]).collect() == [1, 2, 3, 4]


async def test_str_07_the_next_inner_stream_is_not_asked_before_the_first_has_ended() -> None:
    first, second = Feed(1), Feed(2)
    inner = [ReceiverStream(first), ReceiverStream(second)]
    async with streams.iter(inner).flatten() as stream:
        assert await anext(stream) == 1
        waiting = asyncio.get_running_loop().create_task(anext(stream))
        await settle()
        assert second.largest_ask == 0

        first.close()

        assert await waiting == 2


async def test_closing_closes_inner_streams_that_were_not_reached() -> None:
    feeds = [Feed(1), Feed(2), Feed(3)]
    async with streams.iter([ReceiverStream(feed) for feed in feeds]).flatten() as stream:
        await anext(stream)

    assert [feed.dropped for feed in feeds] == [True, True, True]


async def test_flatten_unordered_takes_items_as_they_come() -> None:
    slow, quick = Feed[str](), Feed("q1", "q2")
    inner = [ReceiverStream(slow), ReceiverStream(quick)]
    async with streams.iter(inner).flatten_unordered() as stream:
        assert [await anext(stream), await anext(stream)] == ["q1", "q2"]
        slow.push("s1")
        assert await anext(stream) == "s1"


async def test_str_23_flatten_unordered_asks_no_more_streams_than_its_limit() -> None:
    feeds = [Feed[int](), Feed[int](), Feed[int](9)]
    async with streams.iter(feeds).flat_map_unordered(2, ReceiverStream) as stream:
        waiting = asyncio.get_running_loop().create_task(anext(stream))
        await settle()
        assert [feed.largest_ask > 0 for feed in feeds] == [True, True, False]

        feeds[0].close()

        assert await waiting == 9


async def test_flatten_unordered_ends_when_source_and_inner_streams_have_ended() -> None:
    source, inner = Feed[Stream[int]](), Feed(1)
    source.push(ReceiverStream(inner))
    collected = asyncio.get_running_loop().create_task(
        ReceiverStream(source).flatten_unordered(3).collect()
    )
    await settle()
    source.close()
    await settle()
    assert not collected.done()

    inner.close()

    assert await collected == [1]


async def test_ten_thousand_inner_streams() -> None:
    flat = streams.iter(range(10_000)).flat_map_unordered(8, lambda n: (n,))

    assert sorted(await flat.collect()) == list(range(10_000))


@pytest.mark.parametrize("limit", [0, -2])
def test_a_limit_of_zero_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        streams.iter([[1]]).flatten_unordered(limit)
    with pytest.raises(ValueError, match="limit"):
        streams.iter([1]).flat_map_unordered(limit, lambda n: (n,))
