import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from service.streams import Begun


async def _begun(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Begin by hand, as a worker does, and await the rest."""
    try:
        waits_for = coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    return await Begun(coroutine, waits_for)


async def _twice() -> str:
    await asyncio.sleep(1)
    await asyncio.sleep(0)  # gives its task nothing to wait for
    return "done"


async def _refuses() -> str:
    await asyncio.sleep(1)
    raise ValueError("no")


async def _times_out() -> str:
    try:
        async with asyncio.timeout(1):
            await asyncio.sleep(10)
    except TimeoutError:
        await asyncio.sleep(1)
        return "late"
    return "in time"


async def _owns_tasks() -> int:
    async with asyncio.TaskGroup() as tasks:
        each = [tasks.create_task(asyncio.sleep(1, number)) for number in range(3)]
    return sum(task.result() for task in each)


@pytest.mark.parametrize("work", [_twice, _times_out, _owns_tasks])
async def test_it_ends_as_if_it_had_been_awaited(
    work: Callable[[], Coroutine[Any, Any, Any]],
) -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    expected = await work()
    took_s = loop.time() - began_s

    assert await _begun(work()) == expected
    assert loop.time() - began_s == 2 * took_s


async def test_what_it_raises_comes_out() -> None:
    with pytest.raises(ValueError, match="no"):
        await _begun(_refuses())


@pytest.mark.parametrize("waits_s", [0, 1], ids=["ends at once", "waits again"])
async def test_a_cancellation_goes_to_the_coroutine(waits_s: float) -> None:
    seen: list[str] = []

    async def catches() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append("cancelled")
            if waits_s:
                await asyncio.sleep(waits_s)
            return "cleaned up"
        return "never"

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(_begun(catches()))
        await asyncio.sleep(1)
        task.cancel()

    assert (seen, task.result()) == (["cancelled"], "cleaned up")


async def test_a_cancellation_that_is_let_out_ends_its_task() -> None:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(_begun(asyncio.sleep(10)))
        await asyncio.sleep(1)
        task.cancel()

    assert task.cancelled()


async def test_closing_closes_the_coroutine() -> None:
    closed = False

    async def waits() -> None:
        nonlocal closed
        try:
            await asyncio.sleep(10)
        finally:
            closed = True

    coroutine = waits()
    rest = Begun(coroutine, coroutine.send(None)).__await__()
    next(rest)
    rest.close()

    assert closed


async def test_an_awaitable_that_was_not_begun_is_awaited() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()
    loop.call_later(1, future.set_result, 7)

    assert await Begun(future, None) == 7
