import asyncio
from collections.abc import Awaitable, Callable

from service.channels.waiting import WaitSet

OthersRun = Callable[[], Awaitable[None]]


async def test_everyone_who_waits_is_woken(others_run: OthersRun) -> None:
    change = WaitSet()
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(change.wait()) for _ in range(3)]
        await others_run()

        change.wake_all()

    assert all(task.done() for task in waiting)


async def test_who_comes_after_the_wake_up_waits_for_the_next(others_run: OthersRun) -> None:
    change = WaitSet()
    change.wake_all()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(change.wait())
        await others_run()
        assert not waiting.done()

        change.wake_all()


async def test_a_cancelled_waiter_is_forgotten(others_run: OthersRun) -> None:
    change = WaitSet()
    async with asyncio.TaskGroup() as tasks:
        cancelled = tasks.create_task(change.wait())
        other = tasks.create_task(change.wait())
        await others_run()

        cancelled.cancel()
        change.wake_all()

    assert cancelled.cancelled()
    assert other.done()
