"""What the end of a worker says, and what the parent tells those that run."""

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.app.worker import GAVE_UP
from service.errors import ConfigurationError
from service.settings import Settings, build_settings
from service.workers.parent import (
    INSIST_BEFORE_S,
    STABLE_S,
    Workers,
    _wait_without_threads,
    drained_code,
)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param(0, 0, id="drained"),
        pytest.param(75, 75, id="something is left"),
        pytest.param(GAVE_UP, 75, id="no broker answered"),
        pytest.param(-signal.SIGTERM, 0, id="was still starting"),
        pytest.param(-signal.SIGINT, 0, id="was still starting at a terminal"),
        pytest.param(-signal.SIGKILL, 75, id="killed"),
        pytest.param(-signal.SIGSEGV, 75, id="crashed"),
    ],
)
def test_a_worker_that_was_asked_to_drain_says_whether_it_did(code: int, said: int) -> None:
    assert drained_code(code) == said


async def test_a_worker_is_waited_for_although_no_thread_can_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    workers = Workers(build_settings({"workers": 2}), [sys.executable, "-c", "raise SystemExit(3)"])
    _wait_without_threads()
    try:
        code = await workers._run_once(0)
    finally:
        if sys.version_info < (3, 12):
            asyncio.set_child_watcher(asyncio.ThreadedChildWatcher())

    assert code == 3


class FakeProcess:
    returncode = None

    def __init__(self) -> None:
        self.signals: list[int] = []

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


def test_a_worker_that_is_starting_is_not_sent_what_would_end_it() -> None:
    workers: Any = Workers(build_settings({"workers": 2}), [])
    up, starting = FakeProcess(), FakeProcess()
    workers._running = {0: up, 1: starting}
    workers._ports = {0: 1234}

    workers.reload()

    assert (up.signals, starting.signals) == ([signal.SIGHUP], [])


@pytest.fixture
def _keep_log_levels() -> Iterator[None]:
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)
    logging.getLogger("aiokafka").setLevel(logging.NOTSET)


def _reloaded(old: Settings, load: Any) -> Settings:
    workers = Workers(old, [], load)

    workers.reload()

    return workers._settings


@pytest.mark.usefixtures("_keep_log_levels")
def test_the_parent_waits_as_long_as_a_reloaded_drain_budget_says() -> None:
    old, new = (build_settings({"workers": 2, "drain_timeout_s": each}) for each in (5, 40))

    assert _reloaded(old, lambda: new) is new


def test_the_parent_takes_over_nothing_that_its_workers_refuse() -> None:
    old = build_settings({"workers": 2})
    new = build_settings({"workers": 3, "drain_timeout_s": 40})

    def fail() -> Settings:
        raise ConfigurationError(["workers: is wrong"])

    assert _reloaded(old, lambda: new) is old
    assert _reloaded(old, fail) is old


async def test_a_worker_that_cannot_be_started_is_tried_again() -> None:
    workers = Workers(build_settings({"workers": 2}), ["/no/such/program"])

    assert await workers._run_once(0) == 70


async def test_a_file_that_is_wrong_for_now_does_not_end_workers_that_have_run_for_long() -> None:
    refuse = [sys.executable, "-c", "raise SystemExit(78)"]
    workers = Workers(build_settings({"workers": 2}), refuse)
    loop = asyncio.get_running_loop()
    workers._since_s[1] = loop.time() - STABLE_S - 1

    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(workers._keep(0))
        while not workers._running:
            await asyncio.sleep(0)  # lets it start the worker
        await workers._running[0].wait()
        done, _ = await asyncio.wait([keeping], timeout=0.2)
        workers.drain()

    assert done == set()
    assert workers._codes == [75]


async def test_a_worker_that_ends_by_itself_with_something_left_is_replaced() -> None:
    leave = [sys.executable, "-c", "raise SystemExit(75)"]
    workers = Workers(build_settings({"workers": 2, "start_timeout_s": 60}), leave)

    async with asyncio.TaskGroup() as tasks:
        with capture_logs() as logs:
            keeping = tasks.create_task(workers._keep(0))
            while not (keeping.done() or any(entry["event"] == "worker died" for entry in logs)):
                await asyncio.sleep(0.01)  # a process of the system ends
        drained = workers._draining.is_set()
        workers.drain()

    assert not drained


async def test_a_start_deadline_that_passes_ends_the_service() -> None:
    give_up = [sys.executable, "-c", f"raise SystemExit({GAVE_UP})"]
    workers = Workers(build_settings({"workers": 2}), give_up)

    await workers._keep(0)

    assert workers._draining.is_set()
    assert workers._codes == [75]


async def test_a_configuration_that_was_never_right_ends_the_service() -> None:
    refuse = [sys.executable, "-c", "raise SystemExit(78)"]
    workers = Workers(build_settings({"workers": 2}), refuse)

    await workers._keep(0)

    assert workers._draining.is_set()
    assert workers._codes == [78]


class Stubborn:
    """A process that only ends when it is killed."""

    pid = 4711
    killed_at_s = 0.0

    def __init__(self) -> None:
        self._killed = asyncio.Event()

    async def wait(self) -> int:
        await self._killed.wait()
        return -signal.SIGKILL

    def kill(self) -> None:
        self.killed_at_s = asyncio.get_running_loop().time()
        self._killed.set()


@pytest.fixture
def _deaf() -> Iterator[None]:
    """What is started here does not hear SIGTERM, as an import that is deep in C."""
    heard = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, heard)


@pytest.mark.usefixtures("_deaf")
async def test_a_worker_that_hangs_while_it_starts_is_killed_in_time_too() -> None:
    settings = build_settings({"workers": 2}).model_copy(
        update={"grace_period_s": INSIST_BEFORE_S + 0.1}
    )
    workers = Workers(settings, ["sleep", "60"])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(workers._keep(0))
        while not workers._running:
            await asyncio.sleep(0)  # lets it start the worker
        workers.drain()

    assert workers._codes == [75]


async def test_a_worker_that_does_not_end_is_killed_before_the_platform_kills_everybody() -> None:
    process: Any = Stubborn()
    workers = Workers(build_settings({"workers": 2, "grace_period_s": 43}), [])
    workers.drain()

    with capture_logs() as logs:
        code = await workers._ended(process)

    assert (drained_code(code), process.killed_at_s) == (75, 41.0)
    assert {"event": "worker killed", "pid": 4711, "waited_s": 41.0, "log_level": "error"} in logs
