"""One run: start a contender on a loaded topic, watch its outputs appear, measure, check, end it.

Nothing inside a contender is trusted or needed: the clock runs from the first moment an output
is seen until the last one is, so interpreter start-up and joining the group count for nobody.
The outputs that were already there at that first moment are not counted either.
"""

import asyncio
import time
from dataclasses import dataclass

import orjson

from benchmarks.harness.check import Fingerprint, problem_of
from benchmarks.harness.cluster import Cluster, connect
from benchmarks.harness.contender import RunFailedError, Running, Setting, running, topics
from benchmarks.harness.meter import Usage, usage_of
from benchmarks.harness.model import Contender, Job, Run

_POLL_S = 0.02
_COMMIT_WAIT_S = 15.0


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
    async with (
        connect(setting.bootstrap) as cluster,
        topics(cluster, job.name, job.outputs, job.partitions) as (outputs, dead_letter),
        running(
            heat.contender,
            setting,
            source=heat.source,
            outputs=outputs,
            dead_letter=dead_letter,
            pinned=job.pinned,
        ) as started,
    ):
        try:
            if heat.contender.yardstick:
                return await _yardstick(started, setting.start_limit_s)
            return await _measure(_Watch(setting, heat, cluster, started))
        except RunFailedError as failure:
            return Run(problem=f"{failure} {started.last_words()}".strip())


async def _yardstick(started: Running, limit_s: float) -> Run:
    try:
        async with asyncio.timeout(limit_s):
            status = await started.process.wait()
    except TimeoutError:
        raise RunFailedError(f"no result in {limit_s:g} s") from None
    if status != 0:
        raise RunFailedError(f"ended with status {status}")
    printed = await asyncio.to_thread(started.log.read_bytes)
    return Run(**orjson.loads(printed.splitlines()[-1]))


@dataclass(frozen=True, slots=True)
class _Point:
    at_s: float
    visible: int
    usage: Usage
    broker: Usage


@dataclass(frozen=True, slots=True)
class _Watch:
    """A running contender, seen from outside."""

    setting: Setting
    heat: Heat
    cluster: Cluster
    started: Running

    async def until(self, least: int, limit_s: float, what: str) -> _Point:
        """Look until at least `least` is visible.

        Raises:
            RunFailedError: After `limit_s`, or when the contender has ended.
        """
        deadline_s = time.monotonic() + limit_s
        while (point := await self._look()).visible < least:
            if point.at_s > deadline_s:
                raise RunFailedError(f"{what} for {limit_s:g} s at {point.visible}")
            await asyncio.sleep(_POLL_S)
        return point

    async def commit(self) -> None:
        """Wait until the group has committed every input.

        Raises:
            RunFailedError: If it does not in time.
        """
        deadline_s = time.monotonic() + _COMMIT_WAIT_S
        while (at := await self._committed()) < self.heat.count:
            if time.monotonic() > deadline_s:
                raise RunFailedError(f"committed {at} of {self.heat.count} offsets")
            await asyncio.sleep(0.1)

    async def problem(self) -> str:
        """What is wrong with the outputs; empty if nothing is."""
        job, place = self.heat.job, self.started.place
        found = await self.cluster.read(
            place.outputs, job.canonical, committed_only=job.committed_only
        )
        if wrong := problem_of(job, found, self.heat.expected):
            return wrong
        dead = await self.cluster.visible({"dead": place.dead_letter}, 1)
        return f"{dead} dead letters" if dead else ""

    async def _look(self) -> _Point:
        self.started.check()
        if _in_commits(self.heat.job):
            seen = await self._committed()
        else:
            outputs = self.started.place.outputs
            seen = await self.cluster.visible(outputs, self.heat.job.partitions)
        at_s = time.monotonic()
        usage = usage_of(self.started.process.pid)
        return _Point(at_s, seen, usage, usage_of(self.setting.broker_pid))

    async def _committed(self) -> int:
        return await self.cluster.committed(self.started.place.group, self.heat.source)


def _in_commits(job: Job) -> bool:
    """Whether progress is counted in inputs committed.

    Offsets of a transactional topic count its markers too, so outputs do not serve there.
    """
    return job.committed_only or job.by_commits


async def _measure(watch: _Watch) -> Run:
    heat, setting = watch.heat, watch.setting
    goal = heat.count if _in_commits(heat.job) else heat.expected.count
    first = last = await watch.until(1, setting.start_limit_s, "no output")
    while last.visible < goal:
        last = await watch.until(last.visible + 1, setting.stall_limit_s, "stalled")
    if heat.contender.commits:
        await watch.commit()
    events = heat.count * (last.visible - first.visible) / goal
    if events <= 0:
        raise RunFailedError("all outputs appeared at once: too few events to measure")
    return Run(
        events_per_s=events / (last.at_s - first.at_s),
        cpu_s_per_million=(last.usage.cpu_s - first.usage.cpu_s) / events * 1e6,
        broker_cpu_s_per_million=(last.broker.cpu_s - first.broker.cpu_s) / events * 1e6,
        peak_rss_mb=last.usage.peak_rss_mb,
        problem=await watch.problem(),
    )
