"""A clock that can be set and a log that nobody reads."""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from tests.faults.surroundings import PIPE_BYTES, LogPipe, WallClock


def test_the_clock_says_its_shift_as_libfaketime_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    clock = WallClock(file)
    assert file.read_text() == "+0\n"

    clock.set(-3600.0)

    assert file.read_text() == "-3600\n"


@pytest.mark.parametrize("length", [118, 5_000, 2 * PIPE_BYTES])
async def test_what_is_logged_is_copied_while_somebody_reads(tmp_path: Path, length: int) -> None:
    file = tmp_path / "log"
    async with LogPipe(file) as pipe:
        os.write(pipe.write, b"first\n")
        while not file.stat().st_size:
            await asyncio.sleep(0)  # lets the loop look at the pipe

        pipe.stop_reading()
        os.set_blocking(pipe.write, False)
        written = 0
        with contextlib.suppress(BlockingIOError):
            while written <= PIPE_BYTES:
                written += os.write(pipe.write, bytes(length))

        assert pipe.full
        assert 0 < written <= PIPE_BYTES
        assert file.read_text() == "first\n"


async def test_a_pipe_that_takes_more_is_not_full(tmp_path: Path) -> None:
    async with LogPipe(tmp_path / "log") as pipe:
        pipe.stop_reading()
        os.write(pipe.write, b"line\n")

        assert not pipe.full
