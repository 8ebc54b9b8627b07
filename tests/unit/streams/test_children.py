import asyncio
import contextlib
from typing import Any

import pytest

from service.streams.children import Child, Children, cancelled_by_others, end_all
from tests.unit.streams.feed import settle


async def stubborn(events: list[str]) -> None:
    try:
        await asyncio.sleep(1000)
    finally:
        await asyncio.sleep(5)
        events.append("cleaned up")


async def test_closing_cancels_and_awaits() -> None:
    events: list[str] = []
    children = Children()
    children.start(stubborn(events))
    children.start(stubborn(events))
    await settle()

    await end_all((children,))

    assert events == ["cleaned up"] * 2
    assert len(children) == 0


async def test_a_cancelled_close_still_waits_for_the_tasks_and_then_raises() -> None:
    events: list[str] = []
    children = Children()
    children.start(stubborn(events))
    await settle()
    closing = asyncio.get_running_loop().create_task(end_all((children,)))
    await settle()

    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing

    assert events == ["cleaned up"]
    assert asyncio.get_running_loop().time() == 5.0


async def test_a_cancelled_dismissal_stops_waiting_and_can_be_repeated() -> None:
    events: list[str] = []
    children = Children()
    children.start(stubborn(events))
    await settle()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await children.dismiss()
    assert events == []
    await end_all((children,))

    assert events == ["cleaned up"]


async def test_closing_nothing_is_fine() -> None:
    children = Children()

    await children.dismiss()
    await end_all((children,))

    assert not children


async def test_nothing_is_started_before_the_starter_waits_whatever_the_task_factory() -> None:
    """Python 3.12 has a factory that runs a task until it waits, before its owner does."""

    def eager(loop: asyncio.AbstractEventLoop, work: Any) -> asyncio.Future[Any]:
        with contextlib.suppress(StopIteration):
            work.send(None)
        return loop.create_future()

    ran: list[bool] = []

    async def run() -> None:
        ran.append(True)

    children = Children()
    asyncio.get_running_loop().set_task_factory(eager)
    try:
        children.start(run())
    finally:
        asyncio.get_running_loop().set_task_factory(None)

    assert ran == []
    await settle()
    assert ran == [True]


async def test_a_task_that_closes_its_family_does_not_wait_for_itself() -> None:
    events: list[str] = []
    children = Children()

    async def close() -> None:
        await end_all((children,))

    children.start(stubborn(events))
    children.start(close())
    await settle()

    await end_all((children,))

    assert events == ["cleaned up"]


def _child() -> Child:
    task = asyncio.current_task()
    assert isinstance(task, Child)
    return task


async def test_a_cancellation_of_its_own_can_be_taken_back_before_it_arrives() -> None:
    async def work() -> None:
        child = _child()
        child.cancel()
        seen.append((child.cancelling(), cancelled_by_others(child)))
        await child.take_back()
        await asyncio.sleep(1)
        seen.append((child.cancelling(), cancelled_by_others(child)))

    seen: list[tuple[int, int]] = []
    children = Children()

    children.start(work())
    await asyncio.sleep(2)

    assert seen == [(1, 0), (0, 0)]


@pytest.mark.parametrize("swallowed", [False, True])
async def test_a_cancellation_of_its_owner_cannot_be_taken_back(swallowed: bool) -> None:  # noqa: FBT001 -- of parametrize
    async def work() -> None:
        child = _child()
        child.cancel()
        if swallowed:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(children.cancel)
        seen.append("begun")
        await child.take_back()
        await asyncio.sleep(1)
        seen.append("not reached")

    seen: list[str] = []
    children = Children()

    children.start(work())
    await asyncio.sleep(2)

    assert seen == ["begun"]


async def test_to_be_told_to_stop_by_itself_is_the_wish_of_its_owner() -> None:
    async def work() -> None:
        children.cancel()
        seen.append(cancelled_by_others(_child()))

    seen: list[int] = []
    children = Children()

    children.start(work())
    await settle()

    assert seen == [1]


async def test_a_cancellation_by_something_that_it_has_started_comes_from_inside() -> None:
    async def work() -> None:
        child = _child()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.sleep(10)
        seen.append((child.cancelling(), cancelled_by_others(child)))
        asyncio.get_running_loop().call_later(1, child.cancel)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(10)
        seen.append((child.cancelling(), cancelled_by_others(child)))

    seen: list[tuple[int, int]] = []
    children = Children()

    children.start(work())
    await asyncio.sleep(5)

    assert seen == [(0, 0), (1, 0)]


async def test_what_is_taken_back_inside_is_not_the_wish_of_its_owner() -> None:
    async def work() -> None:
        child = _child()
        child.cancel()
        children.cancel()
        child.uncancel()
        seen.append((child.cancelling(), cancelled_by_others(child)))

    seen: list[tuple[int, int]] = []
    children = Children()

    children.start(work())
    await settle()

    assert seen == [(1, 1)]


def test_the_end_of_the_loop_is_the_wish_of_an_owner() -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            seen.append(cancelled_by_others(_child()))

    async def main() -> None:
        Children().start(work())
        await asyncio.sleep(0)  # lets it begin

    seen: list[int] = []

    asyncio.run(main())

    assert seen == [1]
