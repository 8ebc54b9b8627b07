"""The guard's shell script, run by a real shell: its whole point is how processes end."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.cli.guard import guarded

_STARTED = "import sys, time; print('up', flush=True); time.sleep(60)"


@contextmanager
def _running(code: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(  # noqa: S603 -- our own interpreter
        guarded([sys.executable, "-c", code]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()


def test_the_child_ends_when_the_last_writer_of_the_pipe_is_gone() -> None:
    with _running(_STARTED) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()

        process.stdin.close()

        assert process.wait(10) == 128 + signal.SIGTERM


def test_sigterm_reaches_the_child() -> None:
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7));"
        + _STARTED
    )
    with _running(code) as process:
        assert process.stdout is not None
        process.stdout.readline()

        process.terminate()

        assert process.wait(10) == 7


@pytest.mark.parametrize("status", [0, 3], ids=["success", "failure"])
def test_the_exit_status_is_the_childs(status: int) -> None:
    with _running(f"import sys; sys.exit({status})") as process:
        assert process.wait(10) == status
