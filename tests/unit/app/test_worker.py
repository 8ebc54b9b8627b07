import asyncio
import os

import pytest

from service.app.worker import WORKER_VARIABLE, Worker, this_worker


def test_a_worker_knows_its_number_and_reports_its_port() -> None:
    reading, writing = os.pipe()

    worker = this_worker({WORKER_VARIABLE: f"3:{writing}:9:8081"})
    assert worker is not None
    worker.report(8123)

    with os.fdopen(reading, "rb") as pipe:
        assert (worker.index, worker.parent_port, pipe.read()) == (3, 8081, b"8123\n")


@pytest.mark.parametrize(
    "text", ["", "1", "1:3", "1:3:4", "x:3:4:5", "1::4:5", "1:3:4:", "-1:3:4:5", "1:3:4:5:6"]
)
def test_anything_else_is_a_process_of_its_own(text: str) -> None:
    assert this_worker({WORKER_VARIABLE: text}) is None
    assert this_worker({}) is None


def test_workers_are_values() -> None:
    assert Worker(1, 5, 6, 7) == Worker(1, 5, 6, 7)


async def test_a_worker_is_told_once_when_its_parent_is_gone() -> None:
    life, held = os.pipe()
    gone = asyncio.Event()
    calls: list[bool] = []

    def orphaned() -> None:
        calls.append(True)
        gone.set()

    Worker(0, 9, life, 8081).when_orphaned(orphaned)
    await asyncio.sleep(0)  # lets the loop look at the pipe, which nobody has closed
    before = list(calls)
    os.close(held)
    await gone.wait()

    assert (before, calls) == ([], [True])


def test_a_worker_whose_parent_is_gone_already_has_nobody_to_report_to() -> None:
    reading, writing = os.pipe()
    os.close(reading)

    Worker(0, writing, 9, 8081).report(8123)

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writing)
