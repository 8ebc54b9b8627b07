import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service.channels.semaphore import Semaphore
from service.errors import ChannelClosedError

OthersRun = Callable[[], Awaitable[None]]


def test_free_permits_are_taken_at_once() -> None:
    semaphore = Semaphore(3)

    assert semaphore.try_acquire(2)
    assert not semaphore.try_acquire(2)
    assert semaphore.free == 1
    assert not semaphore.idle


async def test_waiters_are_served_in_their_order(others_run: OthersRun) -> None:
    semaphore = Semaphore(1)
    order: list[int] = []
    await semaphore.acquire(1)

    async def work(number: int) -> None:
        await semaphore.acquire(1)
        order.append(number)
        semaphore.release(1)

    async with asyncio.TaskGroup() as tasks:
        for number in range(5):
            tasks.create_task(work(number))
        await others_run()
        assert semaphore.waiting == 5

        semaphore.release(1)

    assert order == [0, 1, 2, 3, 4]
    assert semaphore.idle
    assert semaphore.waiting_peak == 5


async def test_nobody_is_overtaken_but_by_who_takes_nothing(others_run: OthersRun) -> None:
    semaphore = Semaphore(2)
    async with asyncio.TaskGroup() as tasks:
        await semaphore.acquire(1)
        tasks.create_task(semaphore.acquire(2))
        await others_run()

        assert not semaphore.try_acquire(1)
        assert semaphore.try_acquire(0)
        semaphore.release(1)


async def test_the_head_collects_permits_one_by_one(others_run: OthersRun) -> None:
    semaphore = Semaphore(3)
    await semaphore.acquire(3)
    async with asyncio.TaskGroup() as tasks:
        large = tasks.create_task(semaphore.acquire(3))
        await others_run()
        for _ in range(2):
            semaphore.release(1)
            await others_run()
            assert not large.done()
            assert semaphore.free == 0

        semaphore.release(1)

    assert large.done()
    assert semaphore.free == 0


async def test_close_fails_everyone_and_returns_what_they_had_collected(
    others_run: OthersRun,
) -> None:
    semaphore = Semaphore(3)
    await semaphore.acquire(2)
    waiting = asyncio.gather(semaphore.acquire(2), semaphore.acquire(1), return_exceptions=True)
    await others_run()
    assert semaphore.free == 0

    semaphore.close()

    assert semaphore.free == 1
    errors = await waiting
    assert [type(error) for error in errors] == [ChannelClosedError, ChannelClosedError]
    with pytest.raises(ChannelClosedError):
        await semaphore.acquire(1)
    assert not semaphore.try_acquire(0)
    semaphore.release(2)
    assert semaphore.idle


async def test_close_fails_who_was_granted_but_has_not_run(others_run: OthersRun) -> None:
    semaphore = Semaphore(1)
    await semaphore.acquire(1)
    waiting = asyncio.gather(semaphore.acquire(1), return_exceptions=True)
    await others_run()

    semaphore.release(1)
    semaphore.close()

    (error,) = await waiting
    assert isinstance(error, ChannelClosedError)
    assert semaphore.idle


@pytest.mark.parametrize("ticks", range(4))
async def test_a_cancelled_waiter_passes_its_permit_on(ticks: int, others_run: OthersRun) -> None:
    semaphore = Semaphore(1)
    await semaphore.acquire(1)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(semaphore.acquire(1))
        second = tasks.create_task(semaphore.acquire(1))
        await others_run()

        semaphore.release(1)
        for _ in range(ticks):
            await asyncio.sleep(0)  # lets the first one get one step further
        if first.done():
            semaphore.release(1)
        first.cancel()
        await others_run()

        assert second.done()
    assert semaphore.waiting == 0


async def test_the_lowest_level_is_remembered(others_run: OthersRun) -> None:
    semaphore = Semaphore(5)
    semaphore.try_acquire(3)
    semaphore.release(3)
    assert semaphore.least_free == 2

    async with asyncio.TaskGroup() as tasks:
        semaphore.try_acquire(3)
        tasks.create_task(semaphore.acquire(3))
        await others_run()
        semaphore.release(3)

    assert semaphore.least_free == 0
