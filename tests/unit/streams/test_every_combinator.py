"""What every combinator promises: cancelling loses nothing, the end is final, closing closes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest

from service import streams
from service.streams import Err, Ok, ReceiverStream, Stream, StreamMap
from tests.unit.streams.feed import Feed, settle

T = TypeVar("T")


async def same(item: int) -> int:
    await asyncio.sleep(0)  # lets the test cancel in the middle
    return item


async def yes(_: int) -> bool:
    await asyncio.sleep(0)  # lets the test cancel in the middle
    return True


async def no(_: int) -> bool:
    await asyncio.sleep(0)  # lets the test cancel in the middle
    return False


def call(item: int) -> Callable[[], "asyncio.Future[int]"]:
    return lambda: same(item)  # type: ignore[return-value]  # any awaitable does


def unwrap(item: Ok[T] | Err[object]) -> T:
    assert isinstance(item, Ok)
    return item.value


async def ok(item: int) -> Ok[int] | Err[str]:
    return Ok(await same(item))


def in_a_map(source: Stream[int]) -> Stream[int]:
    streams_by_key = StreamMap[str, int]()
    streams_by_key.insert("only", source)
    return streams_by_key.map(lambda pair: pair[1])


@streams.stream
async def generated(source: Stream[int]) -> AsyncIterator[int]:
    async with source:
        async for item in source:
            yield item


COMBINATORS: dict[str, Callable[[Stream[int]], Stream[int]]] = {
    "map": lambda s: s.map(lambda n: n),
    "filter": lambda s: s.filter(lambda _: True),
    "filter_map": lambda s: s.filter_map(lambda n: n),
    "inspect": lambda s: s.inspect(lambda _: None),
    "enumerate": lambda s: s.enumerate().map(lambda pair: pair[1]),
    "dedup": lambda s: s.dedup(),
    "map_chunks": lambda s: s.map_chunks(list),
    "take": lambda s: s.take(100),
    "take_while": lambda s: s.take_while(lambda _: True),
    "map_while": lambda s: s.map_while(lambda n: n),
    "skip": lambda s: s.skip(0),
    "skip_while": lambda s: s.skip_while(lambda _: False),
    "step_by": lambda s: s.step_by(1),
    "scan": lambda s: s.scan(0, lambda state, n: (state, n)),
    "fuse": lambda s: s.fuse(),
    "peekable": lambda s: s.peekable(),
    "then": lambda s: s.then(same),
    "filter_async": lambda s: s.filter_async(yes),
    "filter_map_async": lambda s: s.filter_map_async(same),
    "take_while_async": lambda s: s.take_while_async(yes),
    "skip_while_async": lambda s: s.skip_while_async(no),
    "buffer_unordered": lambda s: s.map(call).buffer_unordered(1),
    "ordered_by": lambda s: s.map(call).buffer_unordered(3, ordered_by=lambda _: 0),
    "buffered": lambda s: s.map(call).buffered(3),
    "chain": lambda s: streams.empty().chain(s),
    "zip": lambda s: s.zip(streams.repeat("x")).map(lambda pair: pair[0]),
    "merge": lambda s: s.merge(streams.empty()),
    "select": lambda s: streams.select(streams.empty(), s),
    "select_biased": lambda s: streams.select_biased(s, streams.empty()),
    "select_all": lambda s: streams.select_all([s]),
    "StreamMap": in_a_map,
    "flatten": lambda s: streams.once(s).flatten(),
    "flat_map": lambda s: s.flat_map(lambda n: (n,)),
    "flatten_unordered": lambda s: streams.once(s).flatten_unordered(),
    "flat_map_unordered": lambda s: s.flat_map_unordered(1, lambda n: (n,)),
    "chunks": lambda s: s.chunks(1).flatten(),
    "ready_chunks": lambda s: s.ready_chunks(10).flatten(),
    "chunks_timeout": lambda s: s.chunks_timeout(10, 1).flatten(),
    "timeout": lambda s: s.timeout(10).map(unwrap),
    "timeout_repeating": lambda s: s.timeout_repeating(10).map(unwrap),
    "throttle": lambda s: s.throttle(1),
    "take_until": lambda s: s.take_until(asyncio.sleep(1000)),
    "@stream": generated,
    "from_async": streams.from_async,
    "catch": lambda s: s.catch().map(unwrap),
    "map_ok": lambda s: s.map(Ok).map_ok(lambda n: n).map(unwrap),
    "map_err": lambda s: s.map(Ok).map_err(repr).map(unwrap),
    "inspect_ok": lambda s: s.map(Ok).inspect_ok(lambda _: None).map(unwrap),
    "inspect_err": lambda s: s.map(Ok).inspect_err(lambda _: None).map(unwrap),
    "and_then": lambda s: s.map(Ok).and_then(ok).map(unwrap),
    "or_else": lambda s: s.map(Err).or_else(ok).map(unwrap),
    "try_filter": lambda s: s.map(Ok).try_filter(lambda _: True).map(unwrap),
    "try_filter_map": lambda s: s.map(Ok).try_filter_map(lambda n: n).map(unwrap),
    "try_take_while": lambda s: s.map(Ok).try_take_while(lambda _: True).map(unwrap),
    "try_skip_while": lambda s: s.map(Ok).try_skip_while(lambda _: False).map(unwrap),
    "try_flatten": lambda s: streams.once(Ok(s.map(Ok))).try_flatten().map(unwrap),
    "try_flatten_unordered": lambda s: (
        streams.once(Ok(s.map(Ok))).try_flatten_unordered(1).map(unwrap)
    ),
    "try_chunks": lambda s: s.map(Ok).try_chunks(1).map(lambda item: unwrap(item)[0]),
    "try_ready_chunks": lambda s: s.map(Ok).try_ready_chunks(1).map(lambda item: unwrap(item)[0]),
    "try_buffered": lambda s: s.map(lambda n: Ok(lambda: ok(n))).try_buffered(2).map(unwrap),
    "try_buffer_unordered": lambda s: (
        s.map(lambda n: Ok(lambda: ok(n))).try_buffer_unordered(1).map(unwrap)
    ),
}

every_combinator = pytest.mark.parametrize("name", COMBINATORS)


@every_combinator
@pytest.mark.parametrize("steps", range(1, 12))
async def test_a_cancelled_wait_loses_nothing(name: str, steps: int) -> None:
    feed = Feed[int]()
    received: list[int] = []
    async with COMBINATORS[name](ReceiverStream(feed)) as stream:
        for number in range(1, 5):
            waiting = asyncio.get_running_loop().create_task(anext(stream))
            if number % 2:
                await settle()
            feed.push(number)
            for _ in range(steps):
                await asyncio.sleep(0)  # lets the item get a little further
            waiting.cancel()
            await settle()
            if not waiting.cancelled():
                received.append(waiting.result())
        feed.close()
        received += [item async for item in stream]

    assert received == [1, 2, 3, 4]


@every_combinator
async def test_str_25_the_end_is_final_and_the_source_is_not_asked_again(name: str) -> None:
    feed = Feed(1, 2, ended=True)
    async with COMBINATORS[name](ReceiverStream(feed)) as stream:
        assert [item async for item in stream] == [1, 2]
        feed.push(3)

        assert [item async for item in stream] == []
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


@every_combinator
async def test_str_20_closing_closes_the_source_and_leaves_no_task(name: str) -> None:
    feed = Feed(1)
    stream = COMBINATORS[name](ReceiverStream(feed))
    assert await anext(stream) == 1
    waiting = asyncio.get_running_loop().create_task(anext(stream))
    await settle()
    waiting.cancel()
    await settle()

    await stream.aclose()

    assert feed.dropped
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [item async for item in stream] == []


@every_combinator
async def test_at_the_end_no_task_is_left_even_without_closing(name: str) -> None:
    stream = COMBINATORS[name](ReceiverStream(Feed(1, 2, ended=True)))

    assert [item async for item in stream] == [1, 2]

    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("name", [name for name in COMBINATORS if name != "catch"])
async def test_an_exception_of_the_source_comes_after_its_items_and_ends_the_stream(
    name: str,
) -> None:
    source = streams.iter([2, 1, 0, 1]).map(lambda n: 2 // n)
    stream = COMBINATORS[name](source)

    assert [await anext(stream), await anext(stream)] == [1, 2]
    with pytest.raises(ZeroDivisionError):
        await anext(stream)

    assert [item async for item in stream] == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


@every_combinator
async def test_a_stream_can_be_polled_beside_another(name: str) -> None:
    """Nested concurrent combinators: each is asked while the other is waited for."""
    feed = Feed(1, 2)
    stream = COMBINATORS[name](ReceiverStream(feed)).merge(streams.interval(1).take(3).filter(bool))
    feed.close()

    items = [item async for item in stream]

    assert [item for item in items if isinstance(item, int)] == [1, 2]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@every_combinator
async def test_without_a_consumer_the_source_is_pulled_no_further(name: str) -> None:
    feed = Feed(*range(1, 100_001))
    async with COMBINATORS[name](ReceiverStream(feed)) as stream:
        await anext(stream)
        await settle()
        taken = 100_000 - len(feed.items)

        await asyncio.sleep(3600)

        assert 100_000 - len(feed.items) == taken
        assert taken <= 1024


@every_combinator
async def test_closing_ends_the_wait_of_another_task(name: str) -> None:
    for steps in range(10):
        stream = COMBINATORS[name](ReceiverStream(Feed(1)))
        assert await anext(stream) == 1
        waiting = asyncio.get_running_loop().create_task(anext(stream, None))
        for _ in range(steps):
            await asyncio.sleep(0)  # lets the wait get a little further

        await stream.aclose()

        assert await waiting is None
        assert asyncio.all_tasks() == {asyncio.current_task()}


@every_combinator
async def test_a_cancelled_close_closes_all_the_same(name: str) -> None:
    for steps in range(1, 6):
        feed = Feed(1)
        beside = Feed[int]()
        stream = COMBINATORS[name](ReceiverStream(feed)).merge(ReceiverStream(beside))
        assert await anext(stream) == 1
        waiting = asyncio.get_running_loop().create_task(anext(stream, None))
        await settle()
        closing = asyncio.get_running_loop().create_task(stream.aclose())
        for _ in range(steps):
            await asyncio.sleep(0)  # lets the close get a little further

        closing.cancel()
        await asyncio.wait((closing,))

        assert feed.dropped
        assert beside.dropped
        assert await waiting is None
        assert asyncio.all_tasks() == {asyncio.current_task()}
