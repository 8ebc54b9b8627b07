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


async def _cancel_after(delay_s: float, task: "asyncio.Task[Any] | None") -> None:
    await asyncio.sleep(delay_s)
    if task is not None:
        task.cancel()


@handler("cancelled.by_what_it_has_started")
async def by_what_it_has_started(event: Event) -> dict[str, Any]:
    """Has its task cancelled by a helper, after ``after_s``."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if (after_s := event.data.get("after_s")) is not None and task is not None:
        if event.data.get("helper") == "timer":
            loop.call_later(after_s, task.cancel)
        else:
            _helpers.append(loop.create_task(_cancel_after(after_s, task)))
    await asyncio.sleep(event.data.get("takes_s", 0))
    return {"n": event.data["n"]}


_helpers: list["asyncio.Task[None]"] = []


@pytest.mark.parametrize("helper", ["timer", "task"])
@pytest.mark.parametrize("circuit", [0, 100], ids=["no circuit", "circuit"])
async def test_a_coroutine_that_something_of_its_own_cancels_fails_alone(
    headrace: Headrace, helper: str, circuit: int
) -> None:
    killed = {"n": 1, "after_s": 0.1, "takes_s": 1, "helper": helper}
    breaker = {"failures": circuit}
    async with headrace(by_what_it_has_started, retry=RETRY, circuit_breaker=breaker) as service:
        await service.send_all([{"n": 0}, killed, {"n": 2, "takes_s": 1}, {"n": 3}])
        await service.settle()

        assert sorted(output["n"] for output in service.outputs()) == [0, 2, 3]
        (letter,) = service.dead_letters()
        assert letter.detail == "TransientError: the handler was cancelled from inside"


async def test_a_timer_that_goes_off_when_its_call_is_over_does_no_harm(headrace: Headrace) -> None:
    async with headrace(by_what_it_has_started, retry=RETRY, concurrency=1) as service:
        await service.send({"n": 0, "after_s": 5, "helper": "timer"})
        await service.settle()
        await service.advance(10)  # the worker is between calls when it is cancelled
        await service.send({"n": 1, "after_s": 2, "helper": "timer"})
        await service.send({"n": 2, "takes_s": 4})  # is cancelled once, and tried again
        await service.settle()

        assert [output["n"] for output in service.outputs()] == [0, 1, 2]
        assert service.dead_letters() == []


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


async def _what_ends_it(use: Any, handlers: int) -> str:
    """What a service with ``use``, alone or beside another handler, says when it ends."""
    config = pipeline_of(use)
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
    return str(error)


@pytest.mark.parametrize("handlers", [1, 2], ids=["alone", "beside another"])
async def test_a_function_that_cancels_the_task_of_its_pipeline_ends_the_process(
    handlers: int,
) -> None:
    error = await _what_ends_it(pipeline, handlers)

    assert "has cancelled the task of its pipeline" in error


@handler("cancelled.pipeline.later")
def pipeline_later(event: Event) -> dict[str, Any]:
    if event.data["n"] == 1 and (task := asyncio.current_task()) is not None:
        asyncio.get_running_loop().call_later(1, task.cancel)
    return {"n": event.data["n"]}


@handler("cancelled.tick")
class Tick:
    """Cancels the task that it is told the time in."""

    def __call__(self, event: Event) -> dict[str, Any]:
        return {"n": event.data["n"]}

    def tick(self, now_s: float) -> None:
        del now_s
        _cancel_own_task()


@handler("cancelled.tick.raised")
class TickRaised(Tick):
    """Raises a cancellation when it is told the time."""

    told = 0

    def tick(self, now_s: float) -> None:
        del now_s
        TickRaised.told += 1
        raise asyncio.CancelledError


@pytest.mark.parametrize("handlers", [1, 2], ids=["alone", "beside another"])
@pytest.mark.parametrize(
    ("use", "whose"),
    [(pipeline_later, "pipeline test"), (Tick, "tick of test.handler")],
    ids=["a timer", "a tick"],
)
async def test_a_task_that_is_cancelled_by_nobody_who_owns_it_ends_the_process(
    use: Any, whose: str, handlers: int
) -> None:
    """It would stop without a word, while the process calls itself well."""
    error = await _what_ends_it(use, handlers)

    assert error.startswith(whose)
    assert "was cancelled by a handler" in error


async def test_a_tick_that_raises_a_cancellation_is_told_the_time_again(headrace: Headrace) -> None:
    TickRaised.told = 0
    async with headrace(TickRaised) as service:
        await service.advance(5)
        await service.send({"n": 1})
        await service.settle()

        assert TickRaised.told > 1
        assert service.outputs() == [{"n": 1}]


def leaves_of(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions in ``group``, of whatever depth."""
    return [
        leaf
        for error in group.exceptions
        for leaf in (leaves_of(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]
