"""A history says again what was seen, and what was to be done."""

from pathlib import Path

import pytest

from tests.faults.catalogue import SCHEDULES
from tests.faults.history import History, read, schedule_of
from tests.faults.observed import Commit, Fault, Observed, Resources, Sample, Stored
from tests.faults.runner import Run


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    schedule = SCHEDULES["produce"]
    sample = Sample(5, {0: 3}, {("out", 1): 9})
    fault = Fault("kill", 6, 7, kills=True, in_flight=2)
    held = Resources(8, 90_000, 40, 30)
    seen = Observed(
        seed=3,
        keys=4,
        partitions={"out": 2},
        inputs=[Stored("in", 0, 1, 2, b"k", b"\xff\x00", (("h", b"\xfe"),))],
        outputs=[Stored("out", 1, 1, 2, None, None)],
        samples=[sample],
        commits=[Commit(5, 0, 3), Commit(6, 0, -1)],
        faults=[fault],
        resources=[held],
        excused=[(0, 1, 2)],
        open_ends={("out", 1): (3, 4)},
        exits=[("member-0", 0, 1.5)],
        peaks=[("member-0", 90_000)],
        peak_allowed_kib=262_144,
        ended_ms=9,
    )
    history = History(tmp_path / "run.jsonl", schedule)
    history.sample(sample)
    history.fault(fault)
    history.resources(held)

    history.close(seen)

    assert read(history.path) == (schedule, seen)


def test_a_run_that_died_can_be_replayed_but_not_judged(tmp_path: Path) -> None:
    history = History(tmp_path / "run.jsonl", SCHEDULES["sigterm"])

    with pytest.raises(ValueError, match="not the history of a finished run"):
        read(history.path)
    assert schedule_of(history.path) == SCHEDULES["sigterm"]
    history.close(Observed(seed=1, keys=1))


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=lambda schedule: schedule.name)
def test_every_step_is_one_that_the_runner_can_carry_out(schedule: object) -> None:
    steps = getattr(schedule, "steps", ())

    assert steps
    assert all(hasattr(Run, f"do_{step.do}") for step in steps)
    assert all(step.api_keys or not step.apis for step in steps)
