"""What the end of a worker says."""

import signal

import pytest

from service.workers.parent import drained_code


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param(0, 0, id="drained"),
        pytest.param(75, 75, id="something is left"),
        pytest.param(-signal.SIGTERM, 0, id="was still starting"),
        pytest.param(-signal.SIGKILL, 75, id="killed"),
        pytest.param(-signal.SIGSEGV, 75, id="crashed"),
    ],
)
def test_a_worker_that_was_asked_to_drain_says_whether_it_did(code: int, said: int) -> None:
    assert drained_code(code) == said
