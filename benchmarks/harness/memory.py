"""Does memory stay flat while millions of events wait for a slow handler?"""

import asyncio
import time

from benchmarks.harness.cluster import Cluster, connect
from benchmarks.harness.contender import RunFailedError, Running, Setting, running, topics
from benchmarks.harness.meter import rss_mb_of
from benchmarks.harness.model import Contender, MemoryJob, MemoryRun, Options, Report
from benchmarks.harness.percentiles import slope

_SAMPLE_S = 0.5
_WARM_UP_S = 10.0
_START_LIMIT_S = 60.0


async def bench(job: MemoryJob, setting: Setting, options: Options) -> Report:
    """Watch each contender on the same backlog for a while."""
    count = options.count or (job.quick_count if options.quick else job.count)
    runs: dict[str, MemoryRun] = {}
    async with connect(setting.bootstrap) as cluster:
        source = await cluster.create_topic(f"{job.name}.in", job.partitions)
        await cluster.load(source, job.partitions, count, job.record)
    for contender in job.contenders:
        if options.wants(contender):
            run = await _run(job, contender, source, setting, job.seconds)
            runs[contender.name] = run
            print(f"memory  {contender.name:<32} {run}", flush=True)
    async with connect(setting.bootstrap) as cluster:
        await cluster.delete_topic(source)
    return Report(name=job.name, markdown=_table(job, runs, count), svg="", data=runs)


async def _run(
    job: MemoryJob, contender: Contender, source: str, setting: Setting, seconds: float
) -> MemoryRun:
    async with (
        connect(setting.bootstrap) as cluster,
        topics(cluster, job.name, ("out",), job.partitions) as (outputs, dead_letter),
        running(
            contender,
            setting,
            source=source,
            outputs=outputs,
            dead_letter=dead_letter,
        ) as started,
    ):
        try:
            await _first_output(cluster, started, job.partitions)
            samples = await _sample(started, seconds)
            handled = await cluster.visible(outputs, job.partitions)
        except RunFailedError as failure:
            return MemoryRun(problem=f"{failure} {started.last_words()}".strip())
    steady = [(at_s, mb) for at_s, mb in samples if at_s >= _WARM_UP_S]
    return MemoryRun(
        steady_mb=steady[0][1],
        peak_mb=max(mb for _, mb in samples),
        slope_mb_per_min=slope(steady) * 60,
        handled=handled,
    )


async def _first_output(cluster: Cluster, started: Running, partitions: int) -> None:
    deadline_s = time.monotonic() + _START_LIMIT_S
    while not await cluster.visible(started.place.outputs, partitions):
        started.check()
        if time.monotonic() > deadline_s:
            raise RunFailedError(f"no output in {_START_LIMIT_S:g} s")
        await asyncio.sleep(_SAMPLE_S)


async def _sample(started: Running, seconds: float) -> list[tuple[float, float]]:
    began_s = time.monotonic()
    samples = []
    while (at_s := time.monotonic() - began_s) < seconds:
        started.check()
        samples.append((at_s, rss_mb_of(started.process.pid)))
        await asyncio.sleep(_SAMPLE_S)
    return samples


def _table(job: MemoryJob, runs: dict[str, MemoryRun], count: int) -> str:
    conditions = (
        f"Backlog of {count:,} events, watched for {job.seconds:g} s; resident memory in MB of "
        f"10^6 bytes; the slope is that after the first {_WARM_UP_S:g} s."
    )
    lines = [
        f"# {job.title}",
        "",
        conditions,
        "",
        "| contender | after warm-up | peak | slope MB/min | handled meanwhile |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, run in runs.items():
        if run.problem:
            lines.append(f"| {name} | failed: {run.problem} | | | |")
        else:
            lines.append(
                f"| {name} | {run.steady_mb:.0f} | {run.peak_mb:.0f} "
                f"| {run.slope_mb_per_min:+.2f} | {run.handled:,} |"
            )
    return "\n".join(lines) + "\n"
