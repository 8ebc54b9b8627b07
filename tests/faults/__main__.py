"""Runs schedules from a terminal; see the package."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.faults.bench import Bench
from tests.faults.catalogue import SCHEDULES, soak
from tests.faults.history import read, schedule_of
from tests.faults.mutants import MUTANTS
from tests.faults.mutants import schedules as mutant_schedules
from tests.faults.oracle import Verdict, judge
from tests.faults.runner import Run
from tests.faults.schedule import Schedule


def main(argv: Sequence[str] | None = None) -> int:
    """0 if every run is as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".cache/faults"), help="for histories")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the schedules")
    run = commands.add_parser("run", help="run schedules by name")
    run.add_argument("name", nargs="+")
    run.add_argument("--seed", type=int)
    soaking = commands.add_parser("soak", help="a random fault every 30 seconds")
    soaking.add_argument("--minutes", type=float, default=30.0)
    soaking.add_argument("--seed", type=int, default=1)
    commands.add_parser("all", help="run every schedule and every broken variant")
    commands.add_parser("mutants", help="run every broken variant")
    for name, about in (("replay", "run a history's schedule again"), ("judge", "judge it again")):
        commands.add_parser(name, help=about).add_argument("file", type=Path)
    arguments = parser.parse_args(argv)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it complains of what is done to it
    match arguments.command:
        case "list":
            for schedule in (*SCHEDULES.values(), *mutant_schedules()):
                print(f"{schedule.name:36} {', '.join(schedule.rows)}")  # noqa: T201
            return 0
        case "judge":
            return _tell(*_judged(arguments.file))
        case _:
            return _run(_chosen(arguments), arguments.out)


def _chosen(arguments: argparse.Namespace) -> list[Schedule]:
    """The schedules that a command line is about."""
    match arguments.command:
        case "replay":
            return [schedule_of(arguments.file)]
        case "soak":
            return [soak(arguments.seed, arguments.minutes)]
        case "all":
            return [*SCHEDULES.values(), *mutant_schedules()]
        case "mutants":
            return list(mutant_schedules())
    known = {**SCHEDULES, **{schedule.name: schedule for schedule in mutant_schedules()}}
    chosen = [known[name] for name in arguments.name]
    if arguments.seed is not None:
        chosen = [schedule.with_(seed=arguments.seed) for schedule in chosen]
    return chosen


def _judged(path: Path) -> tuple[Schedule, Verdict]:
    schedule, seen = read(path)
    return schedule, judge(seen)


def _run(schedules: Sequence[Schedule], directory: Path) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    failures = 0
    with Bench() as bench:
        for schedule in schedules:
            seen = asyncio.run(Run(schedule, bench, directory).run())
            failures += _tell(schedule, judge(seen))
    return min(failures, 1)


def _tell(schedule: Schedule, verdict: Verdict) -> int:
    """One line, and what was wrong; 1 if it is not as it should be."""
    caught = set(verdict.checks)
    if schedule.mutant:
        good = bool(caught & MUTANTS[schedule.mutant].caught_by)
        result = f"caught by {', '.join(sorted(caught))}" if good else "NOT CAUGHT"
    else:
        good = not caught
        result = "ok" if good else "FAILED"
    print(  # noqa: T201
        f"{schedule.name:36} {result}: {verdict.records} in, {verdict.outputs} out, "
        f"{verdict.lost} lost, {verdict.duplicates} duplicates of {verdict.allowed} allowed, "
        f"longest standstill {verdict.worst_standstill_ms / 1000:.1f} s",
        flush=True,
    )
    if verdict.slope_mib_per_hour is not None:
        print(f"    memory: {verdict.slope_mib_per_hour:+.2f} MiB an hour")  # noqa: T201
    for violation in verdict.violations[:12]:
        print(f"    {violation.check}: {violation.detail}")  # noqa: T201
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
