import asyncio
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from service.delivery.failures import describe
from service.events import Event, RecordBatch, SourceRecord
from service.handlers.spec import make_spec
from service.handlers.threads import _Daemons

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


_ENDS_WITH_A_CALL_UNDER_WAY = """
import asyncio, contextlib, threading
from service.events import Event, RecordBatch, SourceRecord
from service.handlers.spec import make_spec

async def main():
    bound = make_spec(lambda event: threading.Event().wait(), name="x", run_in="thread").bind()
    event = Event({}, batch=RecordBatch("t", 0, [SourceRecord(b"")], next_offset=1))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await bound.call(event)
    await bound.close()

asyncio.run(main())
print("drained", flush=True)
"""


def test_a_call_that_never_returns_does_not_keep_the_process() -> None:
    ended = subprocess.run(  # noqa: S603 -- our own program
        [sys.executable, "-c", _ENDS_WITH_A_CALL_UNDER_WAY],
        capture_output=True,
        text=True,
        timeout=5,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (0, "drained\n")


@pytest.mark.real_loops
async def test_no_more_threads_are_started_than_there_are_calls_at_a_time() -> None:
    bound = make_spec(_thread_name, name="x", run_in="thread", concurrency=2).bind(name="few")

    names = await asyncio.gather(*(bound.call(_EVENT) for _ in range(6)))
    await bound.close()

    assert set(names) == {"headrace-few_0", "headrace-few_1"}


@pytest.mark.real_loops
async def test_calls_that_wait_for_a_thread_when_it_closes_are_dropped() -> None:
    begun, go_on = threading.Event(), threading.Event()
    called: list[int] = []

    def block(event: Event) -> None:
        del event
        called.append(1)
        begun.set()
        go_on.wait(5)

    bound = make_spec(block, name="x", run_in="thread", concurrency=1).bind()
    calls = [bound.call(_EVENT) for _ in range(3)]
    await asyncio.to_thread(begun.wait, 5)

    await bound.close()
    go_on.set()
    ended = await asyncio.gather(*calls, return_exceptions=True)

    assert ended[0] is None
    assert all(isinstance(each, asyncio.CancelledError) for each in ended[1:])
    assert called == [1]


@pytest.mark.real_loops
async def test_a_thread_that_the_system_refuses_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bound = make_spec(_thread_name, name="x", run_in="thread", concurrency=1).bind()
    start = threading.Thread.start

    def refuse(_thread: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start"):
        await bound.call(_EVENT)

    async with asyncio.timeout(2):
        assert await bound.call(_EVENT)
    await bound.close()


class _Overtaken(queue.SimpleQueue[Any]):
    """A queue whose next item a thread takes as soon as somebody has seen that there is one."""

    def empty(self) -> bool:
        empty = super().empty()
        if not empty:
            self.get()
        return empty


def test_closing_does_not_wait_for_a_call_that_a_thread_has_just_taken() -> None:
    pool = _Daemons(1, "pool")
    pool._calls = _Overtaken()
    pool._calls.put((Future(), threading.active_count))

    closing = threading.Thread(target=pool.shutdown, kwargs={"cancel_futures": True}, daemon=True)
    closing.start()
    closing.join(1)

    assert not closing.is_alive()
