import os

import pytest

from service.app.worker import WORKER_VARIABLE, Worker, this_worker


def test_a_worker_knows_its_number_and_reports_its_port() -> None:
    reading, writing = os.pipe()

    worker = this_worker({WORKER_VARIABLE: f"3:{writing}"})
    assert worker is not None
    worker.report(8123)

    with os.fdopen(reading, "rb") as pipe:
        assert (worker.index, pipe.read()) == (3, b"8123\n")


@pytest.mark.parametrize("text", ["", "1", "x:3", "1:", "-1:3"])
def test_anything_else_is_a_process_of_its_own(text: str) -> None:
    assert this_worker({WORKER_VARIABLE: text}) is None
    assert this_worker({}) is None


def test_workers_are_values() -> None:
    assert Worker(1, 5) == Worker(1, 5)
