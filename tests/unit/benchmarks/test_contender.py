"""What becomes of a contender when whoever measures it is told to end."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_MEASURING = """
import asyncio
from benchmarks.harness.contender import Setting, end_in_order, running
from benchmarks.harness.model import Contender
from benchmarks.harness.processors import Processors

async def measure():
    setting = Setting(bootstrap="", broker_pid=0, peers_python="",
                      processors=Processors.of_this_machine())
    contender = Contender(name="sleeper", command=lambda place: ["sleep", "60"])
    async with running(contender, setting, source="", outputs={}, dead_letter="") as started:
        print(started.process.pid, flush=True)
        await started.process.wait()

end_in_order()
asyncio.run(measure())
"""


@pytest.fixture(params=["in front", "in the background"])
def _started(request: pytest.FixtureRequest) -> Iterator[None]:
    """A shell script has what it starts in the background ignore Ctrl-C."""
    before = signal.getsignal(signal.SIGINT)
    if request.param == "in the background":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_started")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_contender_does_not_outlive_whoever_measures_it(number: signal.Signals) -> None:
    with subprocess.Popen(  # noqa: S603 -- ourselves
        [sys.executable, "-c", _MEASURING],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[3],
    ) as measuring:
        assert measuring.stdout is not None
        contender = int(measuring.stdout.readline())

        measuring.send_signal(number)
        measuring.wait(timeout=20)

    try:
        with pytest.raises(ProcessLookupError):
            os.kill(contender, 0)
    finally:
        _end(contender)


def _end(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return
