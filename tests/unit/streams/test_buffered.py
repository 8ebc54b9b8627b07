import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service import streams
from service.streams import Err, Ok, ReceiverStream
from tests.unit.streams.feed import Call, Calls, Feed, settle


async def test_results_keep_the_order_of_the_source() -> None:
    def sleeper(delay_s: int) -> Callable[[], Awaitable[int]]:
        return lambda: asyncio.sleep(delay_s, delay_s)

    results = await streams.iter([3, 1, 2]).map(sleeper).buffered(3).collect()

    assert results == [3, 1, 2]
    assert asyncio.get_running_loop().time() == 3.0


async def test_str_08_results_behind_a_slow_head_keep_their_places() -> None:
    calls = Calls()
    feed = Feed(*(calls(f"c{n}") for n in range(10)))
    async with ReceiverStream(feed).buffered(3) as stream:
        waiting = asyncio.get_running_loop().create_task(anext(stream))
        await settle()
        calls.finish("c1", "c2")
        await settle()

        assert calls.started == ["c0", "c1", "c2"]
        assert len(feed.items) == 7
        assert not waiting.done()

        calls.finish("c0")
        assert await waiting == "c0"


async def test_a_ready_item_keeps_its_place_too() -> None:
    calls = Calls()
    items: list[Call | str] = [calls("slow"), "ready"]
    collected = asyncio.get_running_loop().create_task(streams.iter(items).buffered(2).collect())
    await settle()

    calls.finish("slow")

    assert await collected == ["slow", "ready"]


async def test_an_exception_cancels_the_rest() -> None:
    calls = Calls()
    stream = streams.iter([calls("a"), calls("b")]).buffered(2)
    collected = asyncio.get_running_loop().create_task(stream.collect())
    await settle()

    calls.fail("a", RuntimeError("broken"))

    with pytest.raises(RuntimeError, match="broken"):
        await collected
    assert calls.cancelled == ["b"]


def test_a_limit_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="limit"):
        streams.iter([lambda: asyncio.sleep(0)]).buffered(0)


async def test_for_each_concurrent_runs_up_to_the_limit_and_waits_for_all() -> None:
    async def nap(_: int) -> None:
        await asyncio.sleep(1)

    await streams.iter(range(10)).for_each_concurrent(4, nap)
    assert asyncio.get_running_loop().time() == 3.0

    await streams.iter(range(10_000)).for_each_concurrent(None, nap)
    assert asyncio.get_running_loop().time() == 4.0


async def test_for_each_concurrent_refuses_zero() -> None:
    with pytest.raises(ValueError, match="limit"):
        await streams.iter([1]).for_each_concurrent(0, asyncio.sleep)


async def test_for_each_concurrent_cancels_the_rest_when_one_fails() -> None:
    calls = Calls()
    running = asyncio.get_running_loop().create_task(
        streams.iter(["a", "b", "c"]).for_each_concurrent(2, calls.run)
    )
    await settle()

    calls.fail("a", RuntimeError("broken"))

    with pytest.raises(RuntimeError, match="broken"):
        await running
    assert calls.cancelled == ["b"]
    assert calls.started == ["a", "b"]


async def test_cancelling_for_each_concurrent_cancels_what_runs() -> None:
    calls = Calls()
    running = asyncio.get_running_loop().create_task(
        streams.iter(["a", "b"]).for_each_concurrent(None, calls.run)
    )
    await settle()

    running.cancel()
    await settle()

    assert sorted(calls.cancelled) == ["a", "b"]


async def test_str_11_try_for_each_concurrent_returns_the_first_error_and_cancels_the_rest() -> (
    None
):
    calls = Calls()

    async def run(name: str) -> Ok[str] | Err[str]:
        answer = await calls.run(name)
        return Err(answer) if name == "bad" else Ok(answer)

    items: list[Ok[str] | Err[str]] = [Ok("good"), Ok("bad"), Ok("never")]
    running = asyncio.get_running_loop().create_task(
        streams.iter(items).try_for_each_concurrent(2, run)
    )
    await settle()

    calls.finish("bad")

    assert await running == Err("bad")
    assert calls.cancelled == ["good"]
    assert calls.started == ["good", "bad"]


@pytest.mark.real_loops
async def test_order_is_kept_on_real_loops() -> None:
    async def work(number: int) -> int:
        await asyncio.sleep(0.001 * (number % 3))
        return number

    calls = streams.iter(range(100)).map(lambda number: lambda: work(number))

    assert await calls.buffered(10).collect() == list(range(100))
