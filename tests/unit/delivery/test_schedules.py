"""How many random schedules the pure parts of delivery are tried with in every run."""

import re
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1]
LEAST = 10_000
PARTS = {
    "delivery/test_offsets.py": 2_000,
    "delivery/test_retry.py": 1_000,
    "delivery/test_budget.py": 500,
    "delivery/test_circuit.py": 500,
    "delivery/test_lease.py": 1_000,
    "delivery/test_quarantine.py": 1_000,
    "consumers/test_kafka_partition.py": 500,
    "streams/test_lanes.py": 500,
}
"""The least number of schedules for each part; `max_examples` says how many there are."""


def _schedules(part: str) -> int:
    text = (UNIT / part).read_text(encoding="utf-8")
    return sum(int(found) for found in re.findall(r"max_examples=([\d_]+)", text))


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_tried_often_enough(part: str) -> None:
    assert _schedules(part) >= PARTS[part]


def test_all_parts_together_are_tried_ten_thousand_times() -> None:
    assert sum(map(_schedules, PARTS)) >= LEAST
