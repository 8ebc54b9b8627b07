"""``python -m benchmarks.harness [--quick] [--jobs logs,...]``: run, check, measure, report."""

import argparse
import asyncio
import logging
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import orjson

from benchmarks.harness.check import Fingerprint, expected_fingerprint
from benchmarks.harness.cluster import Cluster, connect
from benchmarks.harness.model import Contender, Job, Run
from benchmarks.harness.race import Heat, Setting, run_once
from benchmarks.harness.report import chart, markdown
from benchmarks.harness.summary import summarize
from tests.kafka.server import KafkaServer

_RESULTS = Path(__file__).parents[1] / "results"
_JOBS = ("logs", "keyed", "io", "fanout", "exactly_once", "scale")
_QUICK_JOBS = ("logs", "io")


def main() -> None:
    # Its warnings about topics that were made a moment ago are expected and repaired by itself.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    arguments = _parse(sys.argv[1:])
    jobs: list[Job] = [import_module(f"benchmarks.jobs.{name}").JOB for name in arguments.jobs]
    broker_cpus, contender_cpus = _processors(os.cpu_count() or 1)
    with KafkaServer(heap_mb=1024, cpus=broker_cpus) as server:
        for job in jobs:
            asyncio.run(_bench(job, server, contender_cpus, arguments))


async def _bench(job: Job, server: KafkaServer, cpus: str, arguments: argparse.Namespace) -> None:
    count = arguments.count or (job.quick_count if arguments.quick else job.count)
    contenders = [
        contender
        for contender in job.contenders
        if _wanted(contender, arguments.only, quick=arguments.quick)
    ]
    setting = Setting(
        bootstrap=server.bootstrap, broker_pid=server.pid, peers_python=arguments.peers, cpus=cpus
    )
    async with connect(server.bootstrap) as cluster:
        sources = await _load(cluster, job, contenders, count)
    runs: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for number in range(arguments.rounds):
        # Another order each round: nobody always runs on the broker's freshest memory.
        turn = number % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            events = events_for(contender, count)
            source, expected = sources[events]
            heat = Heat(
                job=job, contender=contender, source=source, count=events, expected=expected
            )
            run = await run_once(setting, heat)
            runs[contender.name].append(run)
            _tell(job, contender, number, run)
    async with connect(server.bootstrap) as cluster:
        for source, _ in sources.values():
            await cluster.delete_topic(source)
    conditions = (
        f"{datetime.now(UTC):%Y-%m-%d}, {count:,} events, {job.partitions} partitions, "
        f"{arguments.rounds} interleaved rounds, medians; {_pinning(cpus)}; {_machine()}. "
        f"Ratios refer to {contenders[0].name}."
    )
    _write(job, runs, conditions, arguments.results)


async def _load(
    cluster: Cluster, job: Job, contenders: Sequence[Contender], count: int
) -> dict[int, tuple[str, Fingerprint]]:
    sources = {}
    for events in {events_for(contender, count) for contender in contenders}:
        topic = await cluster.create_topic(f"{job.name}.in", job.partitions)
        await cluster.load(topic, job.partitions, events, job.record)
        sources[events] = (topic, expected_fingerprint(job, events))
    return sources


def events_for(contender: Contender, count: int) -> int:
    """How many events a contender gets when the fast ones get `count`."""
    return max(1000, int(count * contender.share))


def _wanted(contender: Contender, only: Sequence[str], *, quick: bool) -> bool:
    if only:
        return any(word in contender.name for word in only)
    return contender.quick or not quick


def _processors(available: int) -> tuple[frozenset[int] | None, str]:
    """The broker's processors and the contenders': apart, where there are two."""
    if available < 2:
        return None, ""
    return frozenset(range(available)) - {1}, "1"


def _tell(job: Job, contender: Contender, number: int, run: Run) -> None:
    figures = run.problem or (
        f"{run.events_per_s:>10,.0f} events/s  {run.cpu_s_per_million:6.2f} CPU s/M  "
        f"{run.peak_rss_mb:5.0f} MB"
    )
    print(f"{job.name} round {number + 1}  {contender.name:<32} {figures}", flush=True)


def _write(job: Job, runs: dict[str, list[Run]], conditions: str, directory: Path | None) -> None:
    took_part = [contender for contender in job.contenders if contender.name in runs]
    reference = runs[took_part[0].name]
    summaries = [summarize(c.name, c.note, runs[c.name], reference) for c in took_part]
    text = markdown(job.title, conditions, summaries)
    print("\n" + text)
    if directory is None:
        return
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{job.name}.md").write_text(f"{text}\n![{job.title}]({job.name}.svg)\n")
    (directory / f"{job.name}.svg").write_text(chart(job.title, summaries))
    (directory / f"{job.name}.json").write_bytes(orjson.dumps(runs, option=orjson.OPT_INDENT_2))


def _pinning(cpus: str) -> str:
    return f"contender on CPU {cpus}, broker on the others" if cpus else "nothing pinned"


def _machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} CPUs ({model}), Python {platform.python_version()}"


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.harness", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer jobs, events and rounds")
    parser.add_argument("--jobs", type=_words, default=None, help=",".join(_JOBS))
    parser.add_argument("--only", type=_words, default=(), help="words in contenders' names")
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--count", type=int, default=None, help="events of the fast contenders")
    parser.add_argument("--peers", default=".cache/bench-venv/bin/python", help="their Python")
    parser.add_argument("--results", type=Path, default=None, help="where the report goes")
    arguments = parser.parse_args(argv)
    arguments.jobs = arguments.jobs or (_QUICK_JOBS if arguments.quick else _JOBS)
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 5)
    if arguments.results is None and not arguments.quick and not arguments.only:
        arguments.results = _RESULTS
    return arguments


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


if __name__ == "__main__":
    main()
