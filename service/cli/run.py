"""``headrace run``: the service itself."""

import argparse
import asyncio
import contextlib
import faulthandler
import os
import resource
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import structlog

from service.app import run_service
from service.app.worker import WORKER_VARIABLE, this_worker
from service.cli.components import component_problems
from service.cli.exit_codes import INTERNAL, exit_code_of, message_of
from service.errors import ConfigurationError
from service.settings import Settings, load_settings
from service.telemetry import configure_logging, flush_log
from service.workers import run_workers

log = structlog.get_logger(__name__)

LEAVE_S: Final = 1.0
"""What is under way in threads has this long to end after everything else."""


def main(arguments: argparse.Namespace) -> int:
    """Serve until drained; the exit code says whether everything was.

    Raises:
        ConfigurationError: With every problem, before any connection is made.
    """
    # a crash outside of Python says nothing else: a handler's library, or no memory for one of ours
    faulthandler.enable(file=2, all_threads=False)
    _open_more_files()
    arguments.config = [_readable_again(file) for file in arguments.config]
    environ = {name: text for name, text in os.environ.items() if name != WORKER_VARIABLE}

    def load() -> Settings:
        return load_settings(arguments.config, environ)

    settings = load()
    worker = this_worker(os.environ)
    writer = configure_logging(level=settings.logging.level, fmt=settings.logging.format)
    try:
        with ExitStack() as stack, asyncio.Runner(loop_factory=loop_factory()) as runner:
            if settings.workers > 1 and worker is None:
                files = [part for file in arguments.config for part in ("--config", str(file))]
                serving = run_workers(settings, ["run", *files], load)
            else:
                serving = run_service(settings, worker, load=load)
            try:
                code = runner.run(serving)
            except (Exception, SystemExit) as error:  # noqa: BLE001 -- the process boundary
                code = _told(error, settings)  # now: the loop's end may wait for a thread
            stack.callback(_end_within(LEAVE_S, code).cancel)
            return code
    finally:
        writer.close()  # last, so that the exit report is written


def _told(error: Exception | SystemExit, settings: Settings) -> int:
    """Say what has ended the service; returns the exit code that it stands for."""
    # a handler that calls sys.exit() ends the process; nothing has drained, whatever its code
    code = INTERNAL if isinstance(error, SystemExit) else exit_code_of(error)
    if isinstance(error, SystemExit) or code == INTERNAL:
        # in the form of the log, which programs read; a bare traceback is a record of each line
        log.critical("failed", exc_info=error)
        return code
    if isinstance(error, ConfigurationError):
        # what could not be built, in the words of `check`: all of it, and where it stands
        error = ConfigurationError(component_problems(settings) or error.problems)
    flush_log()
    print(message_of(error), file=sys.stderr)
    return code


def _open_more_files() -> None:
    """Have as many files open as the system lets us: each connection is one, each probe too.

    The lower limit, often 1024, is there for programs that use ``select``.  At it nobody is let in
    any more, which ends with the platform killing a process whose probes get no answer.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says "unlimited" and refuses it
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _readable_again(file: Path) -> Path:
    """``file``, or a copy of what comes by it if it is a pipe: a reload and workers read it too.

    The copy has no name and ends with this process; workers, which are children of this process,
    find it by its descriptor.
    """
    if sys.platform != "linux" or file.is_file():
        return file
    try:
        content = file.read_bytes()
    except OSError:
        return file  # whoever reads the configuration says so
    descriptor = os.memfd_create(file.name)
    with open(descriptor, "wb", closefd=False) as copy:
        copy.write(content)
    return Path(f"/proc/{os.getpid()}/fd/{descriptor}")


def _end_within(seconds: float, code: int) -> threading.Timer:
    """End the process with ``code`` after ``seconds``, unless that is cancelled.

    What closes the loop waits for what ``asyncio.to_thread`` has begun, for ever on Python 3.11,
    and so would Python's own end.  A coroutine that was given up at its deadline may have left a
    call there that never returns.
    """

    def end() -> None:
        log.warning("ended with a call under way in a thread")
        flush_log()
        os._exit(code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    with contextlib.suppress(RuntimeError):  # no thread to be had: we hope for the best
        timer.start()
    return timer


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop of uvloop where the extra ``uvloop`` is installed, else asyncio's."""
    try:
        import uvloop  # noqa: PLC0415 -- an extra
    except ImportError:
        return None
    return uvloop.new_event_loop
