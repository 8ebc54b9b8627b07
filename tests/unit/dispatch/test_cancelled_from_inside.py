"""A handler that lets a cancellation of its own out: of what it awaited, or of its own task."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from service import Event, handler
from service.errors import FatalError
from service.testing.harness import Harness, pipeline_of

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


def _cancel_own_task() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.cancel()


@handler("cancelled.itself")
async def itself(event: Event) -> dict[str, Any]:
    """Cancels its task, before or after it has waited, in the way that ``does`` says."""
    does = event.data.get("does", "")
    if "late" in does:
        await asyncio.sleep(0.1)
    if does:
        _cancel_own_task()
    if "raises" in does:
        raise ValueError("as asked")
    if "returns" not in does:
        await asyncio.sleep(0.1)
    return {"n": event.data["n"]}


@handler("cancelled.itself.quick")
async def quick(event: Event) -> dict[str, Any]:
    if "does" in event.data:
        _cancel_own_task()
    elif event.data["n"] == 2:  # the one behind it, which waits
        await asyncio.sleep(0.1)
    return {"n": event.data["n"]}


@handler("cancelled.itself.taken_back")
async def taken_back(event: Event) -> dict[str, Any]:
    _cancel_own_task()
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError:
        await asyncio.sleep(0.1)
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


@pytest.mark.parametrize("waits", ["", "late "])
@pytest.mark.parametrize("how", ["waits", "returns", "raises"])
@pytest.mark.parametrize("circuit", [0, 100], ids=["no circuit", "circuit"])
async def test_a_coroutine_that_cancels_its_own_task_fails_alone(
    headrace: Headrace, waits: str, how: str, circuit: int
) -> None:
    async with headrace(itself, retry=RETRY, circuit_breaker={"failures": circuit}) as service:
        await service.send_all([{"n": 0}, {"n": 1, "does": waits + how}, {"n": 2}, {"n": 3}])
        await service.settle()

        assert sorted(output["n"] for output in service.outputs()) == [0, 2, 3]
        (letter,) = service.dead_letters()
        wanted = "ValueError" if how == "raises" else "the handler was cancelled from inside"
        assert wanted in letter.detail


async def test_a_call_that_ends_at_once_with_its_task_cancelled_leaves_those_behind_it_alone(
    headrace: Headrace,
) -> None:
    retry = {"attempts": 1, "initial_s": 0.5, "jitter": 0}
    async with headrace(quick, retry=retry, ordering="none") as service:
        await service.send_all([{"n": 0}, {"n": 1, "does": "returns"}, {"n": 2}, {"n": 3}])
        await service.settle()

        assert sorted(output["n"] for output in service.outputs()) == [0, 2, 3]
        assert [letter.value for letter in service.dead_letters()] == [b'{"n":1,"does":"returns"}']


async def test_a_handler_that_survives_its_own_cancellation_has_succeeded(
    headrace: Headrace,
) -> None:
    async with headrace(taken_back, retry=RETRY) as service:
        await service.send_all({"n": n} for n in range(3))
        await service.settle()

        assert [output["n"] for output in service.outputs()] == [0, 1, 2]
        assert service.dead_letters() == []


async def test_the_timeout_of_one_that_has_survived_it_is_a_timeout(headrace: Headrace) -> None:
    @handler("cancelled.itself.hangs")
    async def hangs(event: Event) -> None:  # noqa: ARG001 -- the framework's signature
        _cancel_own_task()
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    async with headrace(hangs, retry=RETRY, timeout_s=1) as service:
        await service.send({"n": 0})
        await service.settle()

        assert [letter.code for letter in service.dead_letters()] == ["timeout"]


async def test_a_stop_finds_a_handler_that_has_cancelled_itself_and_goes_on(
    headrace: Headrace,
) -> None:
    """The process ends; what was under way is neither acknowledged nor a failed attempt."""
    going = asyncio.Event()

    @handler("cancelled.itself.goes_on")
    async def goes_on(event: Event) -> None:  # noqa: ARG001 -- the framework's signature
        _cancel_own_task()
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            going.set()
            await asyncio.Event().wait()

    async with headrace(goes_on, retry=RETRY, timeout_s=1000) as service:
        await service.send({"n": 0})
        await going.wait()

    assert service.dead_letters() == []
    assert service.lag() == 1


@handler("cancelled.pipeline")
def pipeline(event: Event) -> dict[str, Any]:
    if event.data["n"] == 1:
        _cancel_own_task()
    return {"n": event.data["n"]}


@pytest.mark.parametrize("handlers", [1, 2], ids=["alone", "beside another"])
async def test_a_function_that_cancels_the_task_of_its_pipeline_ends_the_process(
    handlers: int,
) -> None:
    config = pipeline_of(pipeline)
    if handlers > 1:
        config["pipelines"]["test"]["handlers"]["other"] = {
            "use": "cancelled.coroutine",
            "output": "output",
        }

    async def serve() -> None:
        async with Harness(config, partitions=1) as service:
            await service.send_all([{"n": 2}, {"n": 1}, {"n": 3}])
            await service.advance(60)

    with pytest.raises(BaseExceptionGroup) as raised:
        await serve()

    (error,) = leaves_of(raised.value)
    assert isinstance(error, FatalError)
    assert "has cancelled the task of its pipeline" in str(error)


def leaves_of(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions in ``group``, of whatever depth."""
    return [
        leaf
        for error in group.exceptions
        for leaf in (leaves_of(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]
