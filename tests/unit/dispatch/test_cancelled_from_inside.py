"""A handler that lets a cancellation of its own out, as one of something that it awaited."""

import asyncio
from collections.abc import Callable
from typing import Any

from service import Event, handler
from service.testing.harness import Harness

Headrace = Callable[..., Harness]

RETRY = {"attempts": 2, "initial_s": 0.5, "jitter": 0}


@handler("cancelled.coroutine")
async def coroutine(event: Event) -> dict[str, Any]:
    if event.data["n"] == 0:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answer.cancel()
        await answer
    return {"n": event.data["n"]}


@handler("cancelled.function")
def function(event: Event) -> dict[str, Any]:
    if event.data["n"] == 0:
        raise asyncio.CancelledError
    return {"n": event.data["n"]}


@handler("cancelled.once")
async def once(event: Event) -> dict[str, Any]:
    if event.attempts == 0:
        raise asyncio.CancelledError
    return {"n": event.data["n"]}


async def _dead_letters(headrace: Headrace, use: Any) -> list[tuple[str, bytes | None]]:
    async with headrace(use, retry=RETRY) as service:
        await service.send_all({"n": n} for n in range(3))
        await service.settle()

        assert [output["n"] for output in service.outputs()] == [1, 2]
        return [(letter.code, letter.value) for letter in service.dead_letters()]


async def test_a_coroutine_that_awaits_something_cancelled_fails_alone(headrace: Headrace) -> None:
    assert await _dead_letters(headrace, coroutine) == [("handler", b'{"n":0}')]


async def test_a_function_that_raises_a_cancellation_fails_alone(headrace: Headrace) -> None:
    assert await _dead_letters(headrace, function) == [("handler", b'{"n":0}')]


async def test_it_is_tried_again_like_any_other_failure(headrace: Headrace) -> None:
    async with headrace(once, retry=RETRY) as service:
        await service.send({"n": 1})
        await service.settle()

        assert [output["n"] for output in service.outputs()] == [1]
        assert service.dead_letters() == []
