import asyncio
import contextlib

import pytest

from service.errors import StreamError
from service.streams.children import Children
from service.streams.polling import PENDING, RESTING, HeldPull, poll
from service.streams.sources import IterSource, ReceiverSource
from tests.unit.streams.feed import Feed, settle


async def test_what_need_not_wait_is_answered() -> None:
    async def ready() -> int:
        return 1

    assert poll(ready()) == 1


async def test_what_waits_is_pending_and_cancelled() -> None:
    cancelled: list[bool] = []

    async def waits() -> int:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return 1

    assert poll(waits()) is PENDING
    assert cancelled == [True]


async def test_what_only_lets_others_run_is_resting() -> None:
    assert poll(asyncio.sleep(0)) is RESTING


async def test_what_keeps_its_result_through_the_cancel_is_answered() -> None:
    async def keeps() -> int:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1)
        return 1

    assert poll(keeps()) == 1


async def test_what_waits_although_it_is_cancelled_is_an_error() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            await asyncio.sleep(1)

    with pytest.raises(StreamError, match="although"):
        poll(stubborn())


async def test_a_held_pull_hands_over_no_more_than_is_asked_for_later() -> None:
    feed = Feed[int]()
    rung: list[bool] = []
    children = Children(lambda: rung.append(True))
    held = HeldPull(ReceiverSource(feed, 100), children)
    assert held.poll(100) is PENDING
    held.hold(100)
    await settle()
    feed.push(1, 2, 3)
    await settle()

    assert rung == [True]
    assert held.poll(2) == [1, 2]
    assert held.held
    assert held.poll(2) == [3]
    assert not held.held


async def test_an_error_of_a_held_pull_is_raised_by_the_poll() -> None:
    class Broken(Feed[int]):
        async def recv_many(self, buffer: list[int], limit: int) -> int:
            await super().recv_many(buffer, limit)
            raise RuntimeError("broken")

    feed = Broken()
    children = Children()
    held = HeldPull(ReceiverSource(feed, 1), children)
    held.hold(1)
    await settle()
    feed.push(1)
    await settle()

    with pytest.raises(RuntimeError, match="broken"):
        held.poll(1)
    assert held.leftover() == []


async def test_what_nobody_took_is_left_over() -> None:
    children = Children()
    held = HeldPull(IterSource([1, 2]), children)
    held.hold(2)
    await settle()

    assert held.leftover() == [1, 2]
    assert held.leftover() == []


async def test_a_source_that_is_cancelled_from_inside_is_an_error() -> None:
    class Cancelled(Feed[int]):
        async def recv_many(self, buffer: list[int], limit: int) -> int:
            await super().recv_many(buffer, limit)
            raise asyncio.CancelledError

    feed = Cancelled()
    held = HeldPull(ReceiverSource(feed, 1), Children())
    held.hold(1)
    await settle()
    feed.push(1)
    await settle()

    with pytest.raises(StreamError, match="from inside"):
        held.poll(1)
