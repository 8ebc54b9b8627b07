"""What continuous integration has time for: a few minutes of faults, and proof of the judge's eye.

``make soak`` runs everything else.
"""

from pathlib import Path

import pytest

from tests.faults.bench import Bench
from tests.faults.catalogue import SCHEDULES
from tests.faults.mutants import MUTANTS, schedules
from tests.faults.oracle import Verdict, judge
from tests.faults.runner import Run
from tests.faults.schedule import Schedule

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

_SHOWN = {schedule.mutant: schedule for schedule in schedules()}


async def _judged(schedule: Schedule, bench: Bench, directory: Path) -> Verdict:
    return judge(await Run(schedule, bench, directory).run())


@pytest.mark.parametrize("name", ["exactly-once-kill", "broker-restart", "ci-network"])
async def test_a_fault_loses_nothing_and_repeats_nothing(
    name: str, bench: Bench, tmp_path: Path
) -> None:
    verdict = await _judged(SCHEDULES[name], bench, tmp_path)

    assert verdict.violations == []
    assert (verdict.lost, verdict.duplicates) == (0, 0)


async def test_25_kills_lose_nothing_and_repeat_no_more_than_was_in_flight(
    bench: Bench, tmp_path: Path
) -> None:
    verdict = await _judged(SCHEDULES["kill-25"], bench, tmp_path)

    assert verdict.violations == []
    assert verdict.lost == 0


@pytest.mark.parametrize("mutant", ["drop-one", "commit-highest-seen"])
async def test_a_broken_variant_is_caught(mutant: str, bench: Bench, tmp_path: Path) -> None:
    verdict = await _judged(_SHOWN[mutant], bench, tmp_path)

    assert MUTANTS[mutant].caught_by & set(verdict.checks)
