"""What continuous integration has time for: a few minutes of faults, and proof of the judge's eye.

``make soak`` runs everything else.
"""

import asyncio
from pathlib import Path

import pytest

from tests.faults.catalogue import SCHEDULES
from tests.faults.mutants import MUTANTS, schedules
from tests.faults.oracle import Verdict, judge
from tests.faults.runner import Bench, Run
from tests.faults.schedule import Schedule

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

_SHOWN = {schedule.mutant: schedule for schedule in schedules()}


async def _judged(schedule: Schedule, bench: Bench, directory: Path) -> Verdict:
    return judge(await Run(schedule, bench, directory).run())


async def test_25_kills_a_minute_of_rebalances_and_kills_under_exactly_once(
    bench: Bench, tmp_path: Path
) -> None:
    """Side by side, because each mostly waits for a session to expire; none touches the broker."""
    names = ("kill-25", "storm-60", "exactly-once-kill")

    verdicts = await asyncio.gather(*(_judged(SCHEDULES[name], bench, tmp_path) for name in names))

    found = {name: verdict.violations for name, verdict in zip(names, verdicts, strict=True)}
    assert found == {"kill-25": [], "storm-60": [], "exactly-once-kill": []}
    assert all(verdict.lost == 0 for verdict in verdicts)
    assert [verdict.duplicates for verdict in verdicts[1:]] == [0, 0]


@pytest.mark.parametrize("name", ["sigterm", "broker-restart", "ci-network"])
async def test_a_fault_loses_nothing_and_repeats_nothing(
    name: str, bench: Bench, tmp_path: Path
) -> None:
    verdict = await _judged(SCHEDULES[name], bench, tmp_path)

    assert verdict.violations == []
    assert (verdict.lost, verdict.duplicates) == (0, 0)


@pytest.mark.parametrize("mutant", ["drop-one", "commit-highest-seen"])
async def test_a_broken_variant_is_caught(mutant: str, bench: Bench, tmp_path: Path) -> None:
    verdict = await _judged(_SHOWN[mutant], bench, tmp_path)

    assert MUTANTS[mutant].caught_by & set(verdict.checks)
