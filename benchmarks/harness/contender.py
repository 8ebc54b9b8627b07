"""A contender as a process: started where it belongs, measured by nobody here, ended for sure."""

import asyncio
import os
import signal
import tempfile
import uuid
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.cluster import Cluster
from benchmarks.harness.model import Contender, Place
from benchmarks.harness.processors import Processors

_STOP_WAIT_S = 20.0
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all runs have in common.

    Args:
        bootstrap: The broker, ``host:port``.
        broker_pid: Process of the broker, for its CPU time.
        peers_python: Interpreter of the peers' environment.
        processors: Which of them are the contenders'.
        start_limit_s: Longest wait for a contender's first output.
        stall_limit_s: Longest time without any new output.
    """

    bootstrap: str
    broker_pid: int
    peers_python: str
    processors: Processors
    start_limit_s: float = 60.0
    stall_limit_s: float = 30.0


def end_in_order() -> None:
    """Have SIGTERM do what Ctrl-C does: else contender and broker would outlive this process.

    Ctrl-C too, which a shell without job control ignores in what it starts in the background.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


class RunFailedError(Exception):
    """The run cannot be measured; the text says why."""


@asynccontextmanager
async def topics(
    cluster: Cluster, name: str, outputs: tuple[str, ...], partitions: int
) -> AsyncIterator[tuple[dict[str, str], str]]:
    """New output topics, by logical name, and a dead-letter topic; deleted at the end."""
    made = {
        output: await cluster.create_topic(f"{name}.{output}", partitions) for output in outputs
    }
    dead_letter = await cluster.create_topic(f"{name}.dead", 1)
    try:
        yield made, dead_letter
    finally:
        for topic in (*made.values(), dead_letter):
            await cluster.delete_topic(topic)


@dataclass(frozen=True, slots=True)
class Running:
    """A started contender."""

    process: Process
    place: Place

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.place.directory / "contender.log"

    def last_words(self) -> str:
        """The end of what it printed, on one line."""
        return " | ".join(self.log.read_text(errors="replace").strip().splitlines()[-3:])

    def check(self) -> None:
        """Raise if it has ended.

        Raises:
            RunFailedError: If it has.
        """
        if self.process.returncode is not None:
            raise RunFailedError(f"ended by itself with status {self.process.returncode}")


@asynccontextmanager
async def running(
    contender: Contender,
    setting: Setting,
    *,
    source: str,
    outputs: dict[str, str],
    dead_letter: str,
    pinned: bool = True,
) -> AsyncIterator[Running]:
    """The contender, started with a new group, ended at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        place = Place(
            bootstrap=setting.bootstrap,
            source=source,
            outputs=outputs,
            dead_letter=dead_letter,
            group=f"bench.{uuid.uuid4().hex[:8]}",
            directory=Path(directory),
            peers_python=setting.peers_python,
        )
        cpus = setting.processors.contender_list(pinned=pinned)
        if contender.prepare is not None:
            await _prepare(contender.prepare(place))
        process = await _start(cpus, contender.command(place), place.directory)
        try:
            yield Running(process, place)
        finally:
            await _stop(process)


async def _prepare(command: list[str]) -> None:
    """Run what has to be done before a start.

    Raises:
        RuntimeError: If it fails; the benchmark is broken then, not the contender.
    """
    process = await asyncio.create_subprocess_exec(
        *command, cwd=_ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command}: {said.decode(errors='replace')}")


async def _start(cpus: str, command: list[str], directory: Path) -> Process:
    pinned = ["taskset", "-c", cpus]
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    with (directory / "contender.log").open("wb") as out:
        return await asyncio.create_subprocess_exec(
            *pinned,
            *command,
            cwd=_ROOT,
            env=environment | {"PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


async def _stop(process: Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            os.killpg(process.pid, number)
        try:
            async with asyncio.timeout(_STOP_WAIT_S):
                await process.wait()
        except TimeoutError:
            continue
        return
