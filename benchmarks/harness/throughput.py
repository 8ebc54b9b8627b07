"""A job's whole benchmark: load, interleaved rounds, report."""

from collections.abc import Sequence

from benchmarks.harness.check import Fingerprint, expected_fingerprint
from benchmarks.harness.cluster import Cluster, connect
from benchmarks.harness.contender import Setting
from benchmarks.harness.model import Contender, Job, Options, Report, Run
from benchmarks.harness.race import Heat, run_once
from benchmarks.harness.report import chart, markdown
from benchmarks.harness.summary import summarize

_Sources = dict[tuple[str, int], tuple[str, Fingerprint]]
"""The loaded topic of a job with so many events, and what is right for them."""


async def bench(job: Job, setting: Setting, options: Options) -> Report:
    """Run every contender of `job` once a round, in another order each round."""
    count = options.count or (job.quick_count if options.quick else job.count)
    contenders = [contender for contender in job.contenders if options.wants(contender)]
    async with connect(setting.bootstrap) as cluster:
        sources = await _load(cluster, job, contenders, count)
    runs: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    await _warm_up(job, contenders[0], setting, sources, count)
    for number in range(options.rounds):
        # Nobody shall always run on the broker's freshest memory.
        turn = number % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            run = await run_once(setting, _heat(job, contender, sources, count))
            runs[contender.name].append(run)
            _tell(job, contender, number, run)
    async with connect(setting.bootstrap) as cluster:
        for source, _ in sources.values():
            await cluster.delete_topic(source)
    return _report(job, contenders, runs, f"{count:,} events, {options.rounds} rounds")


def events_for(job: Job, contender: Contender, count: int) -> int:
    """How many events a contender gets when the fast ones get `count`."""
    wanted = max(1000, int(count * contender.share))
    return max(1, wanted // job.multiple) * job.multiple


def _heat(job: Job, contender: Contender, sources: _Sources, count: int) -> Heat:
    job = contender.instead or job
    events = events_for(job, contender, count)
    source, expected = sources[job.name, events]
    return Heat(job=job, contender=contender, source=source, count=events, expected=expected)


async def _warm_up(
    job: Job, contender: Contender, setting: Setting, sources: _Sources, count: int
) -> None:
    """One run that counts for nothing, so that nobody meets a broker that is not compiled yet."""
    await run_once(setting, _heat(job, contender, sources, count))


async def _load(
    cluster: Cluster, job: Job, contenders: Sequence[Contender], count: int
) -> _Sources:
    sources: _Sources = {}
    for contender in contenders:
        task = contender.instead or job
        events = events_for(task, contender, count)
        if (task.name, events) not in sources:
            topic = await cluster.create_topic(f"{task.name}.in", task.partitions)
            await cluster.load(
                topic,
                task.partitions,
                events,
                task.record,
                batch_bytes=task.batch_bytes,
                compression=task.compression,
            )
            sources[task.name, events] = (topic, expected_fingerprint(task, events))
    return sources


def _tell(job: Job, contender: Contender, number: int, run: Run) -> None:
    figures = run.problem or (
        f"{run.events_per_s:>10,.0f} events/s  {run.cpu_s_per_million:6.2f} CPU s/M  "
        f"{run.peak_rss_mb:5.0f} MB"
    )
    print(f"{job.name} round {number + 1}  {contender.name:<32} {figures}", flush=True)


def _report(
    job: Job, contenders: Sequence[Contender], runs: dict[str, list[Run]], size: str
) -> Report:
    reference = runs[contenders[0].name]
    summaries = [summarize(c.name, c.note, runs[c.name], reference) for c in contenders]
    pinning = "one processor a contender" if job.pinned else "no processor of their own"
    conditions = (
        f"{size}, interleaved; {job.partitions} partitions; {pinning}; medians. "
        f"Ratios refer to {contenders[0].name}."
    )
    return Report(
        name=job.name,
        markdown=markdown(job.title, conditions, summaries),
        svg=chart(job.title, summaries),
        data=runs,
    )
