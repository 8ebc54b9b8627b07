import asyncio
from collections.abc import Callable
from typing import Any

from service import Event, handler
from service.dispatch.deadlines import Deadlines
from service.testing.harness import Harness

Headrace = Callable[..., Harness]


class TimedCall:
    """Something that runs under a deadline."""

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None


async def _run(deadlines: Deadlines[TimedCall], seconds: float, swallow: int = 0) -> str:
    """Sleep under a deadline, ignoring the first ``swallow`` cancellations."""
    loop = asyncio.get_running_loop()
    call = TimedCall()
    deadlines.enter(call, loop, loop.time())
    try:
        end_s = loop.time() + seconds
        while True:
            try:
                await asyncio.sleep(end_s - loop.time())
            except asyncio.CancelledError:
                if not swallow:
                    raise
                swallow -= 1
            else:
                return "done"
    except asyncio.CancelledError:
        if deadlines.timed_out(call):
            return "timed out"
        raise
    finally:
        deadlines.leave(call)


async def test_a_call_within_its_deadline_is_left_alone() -> None:
    assert await _run(Deadlines[TimedCall](1.0), 0.9) == "done"


async def test_a_call_over_its_deadline_is_cancelled_soon_after_it() -> None:
    loop = asyncio.get_running_loop()

    ended = await _run(Deadlines[TimedCall](1.0), 60.0)

    assert ended == "timed out"
    assert 1.0 <= loop.time() <= 1.1 + 1e-9


async def test_a_call_that_swallows_its_cancellation_is_cancelled_again() -> None:
    loop = asyncio.get_running_loop()

    ended = await _run(Deadlines[TimedCall](1.0), 60.0, swallow=3)

    assert ended == "timed out"
    assert loop.time() < 1.6


async def test_a_cancellation_from_outside_passes_through() -> None:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(_run(Deadlines[TimedCall](1.0), 60.0))
        await asyncio.sleep(0.5)
        task.cancel()

    assert task.cancelled()


async def test_after_a_timeout_the_task_is_as_if_it_never_was_cancelled() -> None:
    await _run(Deadlines[TimedCall](1.0), 60.0)

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@handler("deadlines.hangs")
async def hangs(event: Event) -> dict[str, Any]:
    if event.data["n"] == 0:
        await asyncio.sleep(3600)
    return {"n": event.data["n"]}


async def test_a_handler_that_hangs_ends_in_the_dead_letter_topic(headrace: Headrace) -> None:
    retry = {"attempts": 2, "initial_s": 0.5, "jitter": 0}

    async with headrace(hangs, timeout_s=2, retry=retry) as service:
        await service.send_all({"n": n} for n in range(3))
        await service.settle()

        letters = [(letter.code, letter.value) for letter in service.dead_letters()]
        assert letters == [("timeout", b'{"n":0}')]
        assert [output["n"] for output in service.outputs()] == [1, 2]
