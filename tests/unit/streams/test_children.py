import asyncio

import pytest

from service.streams.children import Children
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

    await children.aclose()

    assert events == ["cleaned up"] * 2
    assert len(children) == 0


async def test_a_cancelled_close_still_waits_for_the_tasks_and_then_raises() -> None:
    events: list[str] = []
    children = Children()
    children.start(stubborn(events))
    await settle()
    closing = asyncio.get_running_loop().create_task(children.aclose())
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
    await children.aclose()

    assert events == ["cleaned up"]


async def test_closing_nothing_is_fine() -> None:
    children = Children()

    await children.dismiss()
    await children.aclose()

    assert not children
