import asyncio
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.__main__ import main
from service.cli import run
from service.cli.exit_codes import CONFIGURATION, INTERNAL, OK, TEMPORARY
from service.errors import ConfigurationError, DiskRefusedError
from service.settings import Settings


@pytest.fixture(autouse=True)
def _keep_logging_and_signals() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    term = signal.getsignal(signal.SIGTERM)
    yield
    logging.captureWarnings(capture=False)
    root.setLevel(level)
    root.handlers[:] = handlers
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    signal.signal(signal.SIGTERM, term)


def _failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    async def fail(*_: Any, **__: Any) -> int:
        raise ExceptionGroup("tasks", [error])

    monkeypatch.setattr(run, "run_service", fail)


def test_what_ends_the_service_is_an_entry_of_its_log(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _failing(monkeypatch, RuntimeError("no such luck"))

    code = main(["run"])

    assert code == INTERNAL
    (line,) = capfd.readouterr().err.splitlines()
    entry = orjson.loads(line)
    assert (entry["level"], entry["event"]) == ("critical", "failed")
    assert "RuntimeError: no such luck" in entry["exception"]


def test_a_handler_that_calls_exit_does_not_end_the_service_as_if_it_had_drained(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def leave(*_: Any, **__: Any) -> int:
        sys.exit(0)

    monkeypatch.setattr(run, "run_service", leave)

    code = main(["run"])

    assert code == INTERNAL
    (line,) = capfd.readouterr().err.splitlines()
    entry = orjson.loads(line)
    assert (entry["level"], entry["event"]) == ("critical", "failed")
    assert "test_run.py" in entry["exception"]


def test_what_is_found_wrong_while_starting_is_told_as_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _failing(monkeypatch, ConfigurationError(["server: cannot listen: it is taken"]))

    code = main(["run"])

    assert code == CONFIGURATION
    assert capfd.readouterr().err == "server: cannot listen: it is taken\n"


def test_a_service_that_cannot_be_built_names_all_that_is_missing_and_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "pipelines: {p: {sources: {rabbitmq: {url: 'amqp://127.0.0.1/', queue: q}}, "
        "dead_letter: dead, handlers: {a: {use: log_alerts}, b: {use: 'no.such.module:f'}}}}"
    )
    monkeypatch.setitem(sys.modules, "aio_pika", None)

    async def build(*_: Any, **__: Any) -> int:
        raise ConfigurationError(["p.rabbitmq: needs the extra `rabbitmq`"])

    monkeypatch.setattr(run, "run_service", build)

    code = main(["run", "--config", str(file)])

    assert code == CONFIGURATION
    source, handler = capfd.readouterr().err.splitlines()
    assert (
        source == "pipelines.p.sources.rabbitmq: needs the extra: pip install 'headrace[rabbitmq]'"
    )
    assert handler.startswith("pipelines.p.handlers.b.use: 'no.such.module:f' cannot be imported")


@pytest.fixture
def _few_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_few_files")
def test_the_service_may_open_as_many_files_as_the_system_lets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []

    async def serve(*_: Any, **__: Any) -> int:
        seen.extend(resource.getrlimit(resource.RLIMIT_NOFILE))
        return OK

    monkeypatch.setattr(run, "run_service", serve)

    main(["run"])

    soft, hard = seen
    assert soft == hard


_LEAVES_A_CALL_BEHIND = """
import argparse, asyncio, threading
from service.cli import run
from service.errors import DiskRefusedError, FatalError

async def serve(settings, worker, *, load):
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(asyncio.to_thread(threading.Event().wait))
        await asyncio.sleep(0.01)
        call.cancel()
    {end}

run.run_service = serve
raise SystemExit(run.main(argparse.Namespace(config=[])))
"""


def _ended_with_a_call_left_behind(end: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 -- our own program
        [sys.executable, "-c", _LEAVES_A_CALL_BEHIND.format(end=end)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_call_in_a_thread_that_never_returns_does_not_keep_the_process() -> None:
    ended = _ended_with_a_call_left_behind("return 75")

    assert ended.returncode == 75
    assert orjson.loads(ended.stderr)["event"] == "ended with a call under way in a thread"


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [
        ("raise FatalError('no licence')", INTERNAL, "FatalError: no licence"),
        ("raise DiskRefusedError('no room')", TEMPORARY, "no room\n"),
    ],
    ids=["a traceback", "a line"],
)
def test_nor_does_it_keep_one_that_fails_which_says_of_what(end: str, code: int, told: str) -> None:
    ended = _ended_with_a_call_left_behind(end)

    assert ended.returncode == code
    assert told in ended.stderr
    assert "ended with a call under way in a thread" in ended.stderr.splitlines()[-1]


def test_where_no_thread_is_to_be_had_it_ends_with_what_it_came_to(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _failing(monkeypatch, DiskRefusedError("state.directory: no room"))

    def no_more(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", no_more)

    code = main(["run"])

    assert code == TEMPORARY
    assert capfd.readouterr().err == "state.directory: no room\n"


def test_what_kills_the_interpreter_leaves_the_place_where_it_was() -> None:
    """A library that aborts, for want of memory for one, or a handler's that crashes."""
    ended = _ended_with_a_call_left_behind("__import__('os').abort()")

    assert ended.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in ended.stderr
    assert "in serve" in ended.stderr


def test_a_service_that_is_stopped_while_a_handler_is_imported_has_drained(
    tmp_path: Path,
) -> None:
    (tmp_path / "slow_to_import.py").write_text("import signal; signal.raise_signal(15)")
    file = tmp_path / "own.yaml"
    file.write_text(
        "pipelines: {p: {sources: {kafka: {topics: [in], group_id: g}}, dead_letter: d, "
        "handlers: {a: {use: 'slow_to_import:f'}}}}"
    )

    ended = subprocess.run(  # noqa: S603 -- our own program
        [sys.executable, "-m", "service", "run", "--config", str(file)],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(Path.cwd())))},
        timeout=60,
        check=False,
    )

    assert ended.returncode == OK
    assert b"imported" not in ended.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs memfd_create")
@pytest.mark.usefixtures("capfd")
def test_a_configuration_that_comes_by_a_pipe_is_there_for_workers_and_reloads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = b"{workers: 2, server: {port: 1000}}"
    found: list[Any] = []

    async def look(settings: Settings, arguments: list[str], load: Callable[[], Settings]) -> int:
        worker = await asyncio.create_subprocess_exec("cat", arguments[2], stdout=subprocess.PIPE)
        read, _ = await worker.communicate()
        again = await asyncio.to_thread(load)
        found.extend([read, again == settings, settings.server.port])
        return OK

    monkeypatch.setattr(run, "run_workers", look)
    reading, writing = os.pipe()
    os.write(writing, text)
    os.close(writing)

    main(["run", "--config", f"/dev/fd/{reading}"])

    os.close(reading)
    assert found == [text, True, 1000]
