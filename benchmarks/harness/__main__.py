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

from benchmarks.harness import latency, library, memory, throughput
from benchmarks.harness.contender import Setting, end_in_order
from benchmarks.harness.model import Job, LatencyJob, LibraryJob, MemoryJob, Options, Report
from benchmarks.harness.processors import Processors
from tests.kafka.server import KafkaServer

_RESULTS = Path(__file__).parents[1] / "results"
_JOBS = (
    "logs", "unique_keys", "single_records", "compressed", "keyed", "io", "fanout",
    "exactly_once", "windows", "latency", "scale", "memory", "telemetry", "telemetry_latency",
    "library",
)  # fmt: skip
_QUICK_JOBS = ("logs", "io")
_ROUNDS, _QUICK_ROUNDS = 5, 2


def main() -> None:
    end_in_order()
    # Its warnings about topics that were made a moment ago are expected and repaired by itself.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    arguments = _parse(sys.argv[1:])
    options = Options(
        quick=arguments.quick,
        rounds=arguments.rounds or (_QUICK_ROUNDS if arguments.quick else _ROUNDS),
        count=arguments.count,
        only=arguments.only,
    )
    names = arguments.jobs or (_QUICK_JOBS if arguments.quick else _JOBS)
    jobs = [import_module(f"benchmarks.jobs.{name}").JOB for name in names]
    # A run that is not the whole one does not replace the figures of record.
    whole = not (options.quick or options.only or options.count)
    results = arguments.results or (_RESULTS if whole else None)
    processors = Processors.of_this_machine()
    with KafkaServer(heap_mb=1024, cpus=processors.others) as server:
        setting = Setting(
            bootstrap=server.bootstrap,
            broker_pid=server.pid,
            peers_python=arguments.peers,
            processors=processors,
        )
        for job in jobs:
            pinned = not isinstance(job, Job) or job.pinned
            processors.place(server.pid, apart=pinned)
            report = asyncio.run(_bench(job, setting, options))
            _write(report, _conditions(processors, pinned=pinned), results)


async def _bench(job: object, setting: Setting, options: Options) -> Report:
    match job:
        case Job():
            return await throughput.bench(job, setting, options)
        case LatencyJob():
            return await latency.bench(job, setting, options)
        case MemoryJob():
            return await memory.bench(job, setting, options)
        case LibraryJob():
            return await library.bench(job, setting, options)
        case _:
            raise TypeError(job)


def _write(report: Report, conditions: str, directory: Path | None) -> None:
    page = f"{report.markdown}\n{conditions}\n"
    print(f"\n{page}")
    if directory is None:
        return
    directory.mkdir(parents=True, exist_ok=True)
    if report.svg:
        (directory / f"{report.name}.svg").write_text(report.svg)
        page += f"\n![{report.name}]({report.name}.svg)\n"
    (directory / f"{report.name}.md").write_text(page)
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    (directory / f"{report.name}.json").write_bytes(orjson.dumps(report.data, option=options))


def _conditions(processors: Processors, *, pinned: bool) -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    pinning = processors.words if pinned else "nothing pinned"
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {os.cpu_count()} CPUs ({model}), "
        f"Python {platform.python_version()}, Apache Kafka on the same machine; {pinning}."
    )


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.harness", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer jobs, events and rounds")
    parser.add_argument("--jobs", type=_words, default=(), help=",".join(_JOBS))
    parser.add_argument("--only", type=_words, default=(), help="words in contenders' names")
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--count", type=int, default=None, help="events of the fast contenders")
    parser.add_argument("--peers", default=".cache/bench-venv/bin/python", help="their Python")
    parser.add_argument("--results", type=Path, default=None, help="where the report goes")
    return parser.parse_args(argv)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


if __name__ == "__main__":
    main()
