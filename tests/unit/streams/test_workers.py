"""Calls that do not behave: they swallow a cancellation, cancel themselves, or close the stream."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from service import streams
from service.errors import StreamError
from service.streams import Later, Stream
from service.streams.children import Children, end_all
from service.streams.workers import Workers
from tests.unit.streams.feed import settle

BUFFERS: dict[str, Callable[[Stream[Any]], Stream[Any]]] = {
    "buffer_unordered": lambda calls: calls.buffer_unordered(2),
    "ordered_by": lambda calls: calls.buffer_unordered(2, ordered_by=lambda _: 0),
    "buffered": lambda calls: calls.buffered(2),
}

every_buffer = pytest.mark.parametrize("buffer", BUFFERS.values(), ids=BUFFERS)


async def deaf() -> str:
    """Swallow a cancellation, as ``asyncio.wait_for`` may on Python 3.11."""
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        return "cancelled"
    return "done"


async def suicidal() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)  # where the cancellation arrives


@every_buffer
async def test_a_call_that_swallows_its_cancellation_does_not_keep_the_stream_open(
    buffer: Callable[[Stream[Any]], Stream[Any]],
) -> None:
    started: list[int] = []

    async def next_one() -> None:
        started.append(1)

    stream = buffer(streams.iter([deaf, deaf, next_one]))
    waiting = asyncio.get_running_loop().create_task(anext(stream, None))
    await settle()

    await stream.aclose()

    assert await waiting is None
    assert started == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


@every_buffer
async def test_an_exception_ends_the_stream_beside_a_call_that_swallows_its_cancellation(
    buffer: Callable[[Stream[Any]], Stream[Any]],
) -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise ValueError("told")

    stream = buffer(streams.iter([fails, deaf]))

    with pytest.raises(ValueError, match="told"):
        await stream.collect()

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_call_that_asks_for_later_although_it_was_cancelled_is_not_asked_again() -> None:
    asked: list[float] = []

    async def again() -> None:
        asked.append(asyncio.get_running_loop().time())

    async def parks() -> Later[None] | None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            return Later(1, again)
        return None

    stream: Stream[None] = streams.iter([parks]).buffer_unordered(1)
    waiting = asyncio.get_running_loop().create_task(anext(stream, None))
    await settle()
    await stream.aclose()

    await asyncio.sleep(2)

    assert asked == []
    await waiting


@every_buffer
async def test_a_call_that_cancels_its_own_task_ends_the_stream_with_an_error(
    buffer: Callable[[Stream[Any]], Stream[Any]],
) -> None:
    stream = buffer(streams.iter([suicidal]))

    with pytest.raises(StreamError, match="from inside"):
        await stream.collect()


@every_buffer
async def test_a_cancellation_that_comes_too_late_for_its_call_meets_no_other(
    buffer: Callable[[Stream[Any]], Stream[Any]],
) -> None:
    async def late() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "returned before it could arrive"

    async def next_one() -> str:
        await asyncio.sleep(1)
        return "next"

    stream = buffer(streams.iter([late, next_one, next_one, next_one]))

    assert await stream.collect() == ["returned before it could arrive", *["next"] * 3]


@every_buffer
async def test_a_worker_that_is_cancelled_between_its_calls_goes_on(
    buffer: Callable[[Stream[Any]], Stream[Any]],
) -> None:
    """As by a timer of a call that has ended, which has forgotten to cancel it."""

    async def answer() -> int:
        return 1

    calls = asyncio.Queue[Any]()
    stream = buffer(streams.unfold(None, lambda _: _from(calls)))
    calls.put_nowait(answer)
    assert await anext(stream) == 1
    for task in asyncio.all_tasks():
        if "Workers" in repr(task.get_coro()):
            task.cancel()
    await settle()
    calls.put_nowait(answer)

    assert await anext(stream) == 1

    await stream.aclose()


async def test_a_worker_that_is_cancelled_as_it_is_woken_runs_what_it_was_woken_for() -> None:
    async def answer() -> None:
        ran.append(1)

    ran: list[int] = []
    failures: list[Exception] = []
    children = Children()
    workers = Workers[None, None](
        1, children, finished=lambda _tag, _result: True, failed=failures.append
    )
    workers.queue.append((None, answer))
    workers.kick()
    await settle()

    workers.queue.append((None, answer))
    workers.kick()
    (worker,) = children.others()
    worker.cancel()
    await settle()
    workers.queue.append((None, answer))
    workers.kick()
    await settle()

    assert (len(ran), failures) == (3, [])
    await end_all((children,))


async def _from(queue: asyncio.Queue[Any]) -> tuple[Any, None]:
    return await queue.get(), None


@every_buffer
async def test_a_call_may_close_its_own_stream(
    buffer: Callable[[Stream[Any]], Stream[Any]],
) -> None:
    async def closes() -> int:
        await stream.aclose()
        return 1

    stream = buffer(streams.iter([closes, deaf]))

    assert await stream.collect() == []

    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}
