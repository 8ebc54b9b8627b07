import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from service.delivery.failures import describe
from service.events import Event, RecordBatch, SourceRecord
from service.handlers.spec import make_spec

_EVENT = Event({}, batch=RecordBatch("t", 0, [SourceRecord(b"")], next_offset=1))


def _thread_name(event: Event) -> str:
    del event
    time.sleep(0.01)
    return threading.current_thread().name


def _broken(_event: Event) -> None:
    raise ValueError("broken")


@pytest.mark.real_loops
async def test_a_sync_handler_runs_in_a_thread_of_its_own_and_may_block() -> None:
    bound = make_spec(_thread_name, name="x", run_in="thread", concurrency=2).bind(name="mine")

    assert bound.is_async
    assert (await bound.call(_EVENT)).startswith("headrace-mine")
    await bound.close()


@pytest.mark.real_loops
async def test_what_it_raises_comes_out() -> None:
    bound = make_spec(_broken, name="x", run_in="thread").bind()

    with pytest.raises(ValueError, match="broken"):
        await bound.call(_EVENT)
    await bound.close()


def _next_of_nothing(_event: Event) -> None:
    next(iter(()))


def _exit(_event: Event) -> None:
    raise SystemExit(3)


@pytest.mark.real_loops
@pytest.mark.parametrize(
    ("function", "told"),
    [
        (_next_of_nothing, "StopIteration in _next_of_nothing (test_threads.py:"),
        (_exit, "SystemExit in _exit (test_threads.py:"),
    ],
    ids=["no next item", "an exit"],
)
async def test_what_no_future_takes_comes_out_as_an_error_that_names_its_place(
    function: Callable[[Event], None], told: str
) -> None:
    bound = make_spec(function, name="x", run_in="thread").bind()

    with pytest.raises(RuntimeError) as caught:
        async with asyncio.timeout(5):
            await bound.call(_EVENT)
    await bound.close()

    assert describe(caught.value).startswith(told)
