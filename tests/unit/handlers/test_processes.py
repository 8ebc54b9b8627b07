import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError, PermanentError, TransientError
from service.events import Event, RecordBatch, SourceRecord
from service.handlers import load_handler
from service.handlers.bound import BoundHandler
from service.handlers.spec import HandlerSpec, make_spec

pytestmark = pytest.mark.real_loops

_MODULE = """
import os, time
from pydantic import BaseModel
from service import PermanentError, handler

class Options(BaseModel):
    factor: int = 1

@handler("in_a_process", run_in="process", concurrency=2, options=Options)
def work(event, options):
    print("not a frame")
    match event.data:
        case "pid": return os.getpid()
        case "die": os._exit(3)
        case "crash": os.abort()
        case "hang": time.sleep(600)
        case "bad": raise PermanentError("bad")
        case "burn":
            until = time.process_time() + 0.2
            while time.process_time() < until: pass
            return "burnt"
    return event.data * options.factor
"""


def _event(data: Any) -> Event:
    return Event(data, batch=RecordBatch("t", 0, [SourceRecord(b"")], next_offset=1))


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HandlerSpec:
    (tmp_path / "burning.py").write_text(_MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "burning", raising=False)
    return load_handler("burning:work")


@pytest.fixture
async def bound(spec: HandlerSpec) -> AsyncIterator[BoundHandler]:
    bound = spec.bind({"factor": 3}, name="mine")
    yield bound
    await bound.close()


async def test_a_handler_runs_in_another_process_that_is_used_again(bound: BoundHandler) -> None:
    first, second = await bound.call(_event("pid")), await bound.call(_event("pid"))

    assert bound.is_async
    assert first == second != os.getpid()
    assert await bound.call(_event(5)) == 15


async def test_as_many_run_at_a_time_as_the_concurrency_says(bound: BoundHandler) -> None:
    pids = await asyncio.gather(*(bound.call(_event("pid")) for _ in range(8)))

    assert len(set(pids)) == 2


async def test_a_process_that_dies_costs_only_its_own_call(bound: BoundHandler) -> None:
    results = await asyncio.gather(
        bound.call(_event("die")), bound.call(_event(1)), return_exceptions=True
    )

    assert isinstance(results[0], TransientError)
    assert results[1] == 3
    assert await bound.call(_event(2)) == 6


async def test_a_process_that_crashes_tells_where(
    bound: BoundHandler, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TransientError):
        await bound.call(_event("crash"))

    assert "in work" in capfd.readouterr().err


async def test_a_call_that_hangs_is_killed_when_it_is_cancelled(bound: BoundHandler) -> None:
    await bound.call(_event("pid"))  # started, so that the deadline is the call's own
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await bound.call(_event("hang"))

    started_s = time.monotonic()
    assert await asyncio.gather(*(bound.call(_event(n)) for n in (1, 2, 3))) == [3, 6, 9]
    assert time.monotonic() - started_s < 20


async def test_what_the_handler_raises_comes_out(bound: BoundHandler) -> None:
    with pytest.raises(PermanentError, match="bad"):
        await bound.call(_event("bad"))


async def test_a_handler_that_burns_cpu_leaves_the_loop_free(bound: BoundHandler) -> None:
    await asyncio.gather(*(bound.call(_event("pid")) for _ in range(2)))
    calls = asyncio.gather(*(bound.call(_event("burn")) for _ in range(2)))
    lags_s: list[float] = []
    while not calls.done():
        before_s = time.monotonic()
        await asyncio.sleep(0.005)
        lags_s.append(time.monotonic() - before_s - 0.005)

    assert await calls == ["burnt", "burnt"]
    assert len(lags_s) > 10
    # The median, because a busy machine may take any single turn away from us.
    assert sorted(lags_s)[len(lags_s) // 2] < 0.05


def _local() -> Callable[[Event], Awaitable[None] | None]:
    def inner(_event: Event) -> None: ...

    return inner


class _WithLifecycle:
    def __call__(self, _event: Event) -> None: ...
    def tick(self, _now_s: float) -> None: ...


@pytest.mark.parametrize(
    ("target", "problem"),
    [(_local(), "another process can import"), (_WithLifecycle, "knows none of")],
    ids=["local function", "lifecycle"],
)
async def test_what_cannot_run_in_a_process_is_refused(target: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        make_spec(target, name="x", run_in="process")
