"""One run: start a contender on a loaded topic, watch its outputs appear, measure, check, end it.

Nothing inside a contender is trusted or needed: the clock runs from the first moment an output
is seen until the last one is, so interpreter start-up and joining the group count for nobody.
The outputs that were already there at that first moment are not counted either.
"""

import asyncio
import os
import signal
import tempfile
import time
import uuid
from asyncio.subprocess import Process
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks.harness.check import Fingerprint, problem_of
from benchmarks.harness.cluster import Cluster, connect
from benchmarks.harness.meter import Usage, usage_of
from benchmarks.harness.model import Contender, Job, Place, Run

_POLL_S = 0.02
_COMMIT_WAIT_S = 15.0
_STOP_WAIT_S = 20.0
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all runs have in common.

    Args:
        bootstrap: The broker, ``host:port``.
        broker_pid: Process of the broker, for its CPU time.
        peers_python: Interpreter of the peers' environment.
        cpus: Processors for contenders, such as ``1``; empty for all.
        start_limit_s: Longest wait for a contender's first output.
        stall_limit_s: Longest time without any new output.
    """

    bootstrap: str
    broker_pid: int
    peers_python: str
    cpus: str
    start_limit_s: float = 60.0
    stall_limit_s: float = 30.0


@dataclass(frozen=True, slots=True)
class _Point:
    at_s: float
    visible: int
    usage: Usage
    broker: Usage


class _RunFailedError(Exception):
    """The run cannot be measured; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """One turn of one contender.

    Args:
        job: What is to be done.
        contender: Who does it.
        source: The loaded input topic.
        count: Events in it.
        expected: The outputs that are right.
    """

    job: Job
    contender: Contender
    source: str
    count: int
    expected: Fingerprint


async def run_once(setting: Setting, heat: Heat) -> Run:
    """Let the contender do the job once; a failure becomes a `Run` too."""
    job = heat.job
    # New clients each time: old ones would go on asking for topics that have been deleted.
    async with connect(setting.bootstrap) as cluster:
        outputs = {
            name: await cluster.create_topic(f"{job.name}.{name}", job.partitions)
            for name in job.outputs
        }
        dead_letter = await cluster.create_topic(f"{job.name}.dead", 1)
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
            place = Place(
                bootstrap=setting.bootstrap,
                source=heat.source,
                outputs=outputs,
                dead_letter=dead_letter,
                group=f"{job.name}.{uuid.uuid4().hex[:8]}",
                directory=Path(directory),
                peers_python=setting.peers_python,
            )
            run = await _run_at(place, setting, heat, cluster)
        for topic in (*outputs.values(), dead_letter):
            await cluster.delete_topic(topic)
    return run


async def _run_at(place: Place, setting: Setting, heat: Heat, cluster: Cluster) -> Run:
    log = place.directory / "contender.log"
    cpus = setting.cpus if heat.job.pinned else ""
    process = await _start(cpus, heat.contender.command(place), log)
    try:
        if heat.contender.yardstick:
            return await _yardstick(process, log, setting.start_limit_s)
        return await _measure(_Watch(place, setting, heat, cluster, process))
    except _RunFailedError as failure:
        said = log.read_text(errors="replace").strip().splitlines()[-3:]
        return Run(problem=f"{failure} {' | '.join(said)}".strip())
    finally:
        await _stop(process)


async def _yardstick(process: Process, log: Path, limit_s: float) -> Run:
    try:
        async with asyncio.timeout(limit_s):
            status = await process.wait()
    except TimeoutError:
        raise _RunFailedError(f"no result in {limit_s:g} s") from None
    if status != 0:
        raise _RunFailedError(f"ended with status {status}")
    printed = await asyncio.to_thread(log.read_bytes)
    return Run(**orjson.loads(printed.splitlines()[-1]))


async def _start(cpus: str, command: list[str], log: Path) -> Process:
    pinned = ["taskset", "-c", cpus] if cpus else []
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    with log.open("wb") as out:
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


@dataclass(frozen=True, slots=True)
class _Watch:
    """A running contender, seen from outside."""

    place: Place
    setting: Setting
    heat: Heat
    cluster: Cluster
    process: Process

    async def until(self, least: int, limit_s: float, what: str) -> _Point:
        """Look until at least `least` is visible.

        Raises:
            _RunFailedError: After `limit_s`, or when the contender has ended.
        """
        deadline_s = time.monotonic() + limit_s
        while (point := await self._look()).visible < least:
            if point.at_s > deadline_s:
                raise _RunFailedError(f"{what} for {limit_s:g} s at {point.visible}")
            await asyncio.sleep(_POLL_S)
        return point

    async def commit(self) -> None:
        """Wait until the group has committed every input.

        Raises:
            _RunFailedError: If it does not in time.
        """
        deadline_s = time.monotonic() + _COMMIT_WAIT_S
        while (at := await self._committed()) < self.heat.count:
            if time.monotonic() > deadline_s:
                raise _RunFailedError(f"committed {at} of {self.heat.count} offsets")
            await asyncio.sleep(0.1)

    async def dead_letters(self) -> str:
        """What is wrong if anything was dead-lettered; empty if nothing was."""
        dead = await self.cluster.visible({"dead": self.place.dead_letter}, 1)
        return f"{dead} dead letters" if dead else ""

    async def _look(self) -> _Point:
        if self.process.returncode is not None:
            raise _RunFailedError(f"ended by itself with status {self.process.returncode}")
        if self.heat.job.committed_only:
            # Offsets of a transactional topic count its markers too; inputs committed do not.
            seen = await self._committed()
        else:
            seen = await self.cluster.visible(self.place.outputs, self.heat.job.partitions)
        at_s = time.monotonic()
        return _Point(at_s, seen, usage_of(self.process.pid), usage_of(self.setting.broker_pid))

    async def _committed(self) -> int:
        return await self.cluster.committed(self.place.group, self.place.source)


async def _measure(watch: _Watch) -> Run:
    heat, setting = watch.heat, watch.setting
    job = heat.job
    goal = heat.count if job.committed_only else heat.expected.count
    first = last = await watch.until(1, setting.start_limit_s, "no output")
    while last.visible < goal:
        last = await watch.until(last.visible + 1, setting.stall_limit_s, "stalled")
    if heat.contender.commits:
        await watch.commit()
    found = await watch.cluster.read(
        watch.place.outputs, job.canonical, committed_only=job.committed_only
    )
    events = heat.count * (last.visible - first.visible) / goal
    elapsed_s = last.at_s - first.at_s
    if events <= 0:
        raise _RunFailedError("all outputs appeared at once: too few events to measure")
    return Run(
        events_per_s=events / elapsed_s,
        cpu_s_per_million=(last.usage.cpu_s - first.usage.cpu_s) / events * 1e6,
        broker_cpu_s_per_million=(last.broker.cpu_s - first.broker.cpu_s) / events * 1e6,
        peak_rss_mb=last.usage.peak_rss_mb,
        problem=problem_of(job, found, heat.expected) or await watch.dead_letters(),
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
