"""The judge passes a good history, and names what is wrong with every bad one."""

import random
from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest

from tests.faults.observed import Commit, Fault, Observed, Resources, Sample, Stored
from tests.faults.oracle import CHECKS, judge
from tests.faults.placement import partition_of
from tests.faults.workload import Fate, Workload

KEYS = 5
PARTITIONS = 3
WORKLOAD = Workload(seed=7, keys=KEYS)
START_MS = 1_000_000


def good(count: int = 400) -> Observed:
    """A run in which everything went well: each record is done as it comes, and then committed."""
    seen = Observed(seed=7, keys=KEYS, partitions={"out": PARTITIONS, "dead": PARTITIONS})
    ends = dict.fromkeys(((t, p) for t in ("out", "dead") for p in range(PARTITIONS)), 0)
    committed: dict[int, int] = {}
    for number in range(count):
        at_ms = START_MS + number
        key = WORKLOAD.key(number)
        partition = partition_of(key, 2)
        offset = committed.get(partition, 0)
        value = WORKLOAD.value(number)
        seen.inputs.append(Stored("in", partition, offset, at_ms, key, value))
        fate = WORKLOAD.fate(number)
        if fate is not Fate.SILENT:
            _put(seen, ends, number, (partition, offset), at_ms)
        committed[partition] = offset + 1
        seen.samples.append(Sample(at_ms, dict(committed), dict(ends)))
        seen.commits.append(Commit(at_ms, partition, offset + 1))
    seen.ended_ms = START_MS + count
    return seen


def _put(
    seen: Observed,
    ends: dict[tuple[str, int], int],
    number: int,
    source: tuple[int, int],
    at_ms: int,
) -> None:
    fate, key = WORKLOAD.fate(number), WORKLOAD.key(number)
    place = ("dead" if fate.dead else "out", partition_of(key, PARTITIONS))
    at = ends[place]
    ends[place] = at + 1
    if fate.dead:
        origin = b"in/%d/%d" % source
        why = (("headrace-origin", origin), ("headrace-error", fate.value.encode()))
        seen.dead.append(Stored(*place, at, at_ms, key, WORKLOAD.value(number), why))
    else:
        name = (("headrace-id", b"logs/alerts/in/%d/%d-0" % source),)
        value = orjson.dumps({**WORKLOAD.alert(number), "timestamp": at_ms})
        seen.outputs.append(Stored(*place, at, at_ms, key, value, name))


def lose_an_alert(seen: Observed) -> None:
    del seen.outputs[17]


def lose_a_dead_letter(seen: Observed) -> None:
    del seen.dead[3]


def alert_of_a_silent_record(seen: Observed) -> None:
    number = next(n for n in range(400) if WORKLOAD.fate(n) is Fate.SILENT)
    key = WORKLOAD.key(number)
    value = orjson.dumps(WORKLOAD.alert(number))
    at = partition_of(key, PARTITIONS)
    seen.outputs.append(Stored("out", at, 9_999, START_MS, key, value, (("headrace-id", b"x"),)))


def output_of_nobody(seen: Observed) -> None:
    seen.outputs.append(Stored("out", 0, 9_999, START_MS, b"k", b"{}"))


def change_a_payload(seen: Observed) -> None:
    first = seen.outputs[0]
    seen.outputs[0] = replace(first, value=(first.value or b"").replace(b"ALERT", b"alert"))


def change_a_dead_letter(seen: Observed) -> None:
    seen.dead[0] = replace(seen.dead[0], value=b"shortened")


def wrong_code(seen: Observed) -> None:
    origin = seen.dead[0].headers[0]
    seen.dead[0] = replace(seen.dead[0], headers=(origin, ("headrace-error", b"poison")))


def share_an_id(seen: Observed) -> None:
    seen.outputs[1] = replace(seen.outputs[1], headers=seen.outputs[0].headers)


def swap_two_of_a_key(seen: Observed) -> None:
    first = 20
    second = next(
        at for at in range(first + 1, 400) if seen.outputs[at].key == seen.outputs[first].key
    )
    one, other = seen.outputs[first], seen.outputs[second]
    seen.outputs[first] = replace(one, offset=other.offset)
    seen.outputs[second] = replace(other, offset=one.offset)


def misplace(seen: Observed) -> None:
    first = seen.outputs[0]
    seen.outputs[0] = replace(first, partition=(first.partition + 1) % PARTITIONS)


def repeat_without_a_reason(seen: Observed) -> None:
    seen.outputs.append(replace(seen.outputs[-1], offset=9_999))


def commit_too_early(seen: Observed) -> None:
    at, early = next(
        (at, later)
        for at, (sample, later) in enumerate(zip(seen.samples, seen.samples[1:], strict=False))
        if sample.ends != later.ends
    )
    seen.samples[at] = replace(seen.samples[at], committed=early.committed)


def commit_backwards(seen: Observed) -> None:
    seen.commits.insert(300, seen.commits[100])


def delete_a_commit(seen: Observed) -> None:
    seen.commits.insert(300, replace(seen.commits[299], offset=-1))


def hide_the_log_of_commits(seen: Observed) -> None:
    seen.commits.clear()


def stop_committing(seen: Observed) -> None:
    del seen.samples[350:]


def leave_a_transaction_open(seen: Observed) -> None:
    seen.open_ends["out", 0] = (10, 12)


def stand_still(seen: Observed) -> None:
    seen.samples[200:] = [
        replace(sample, at_ms=sample.at_ms + 40_000) for sample in seen.samples[200:]
    ]
    seen.faults.append(Fault("broker stopped", START_MS + 190, START_MS + 199))


def end_undrained(seen: Observed) -> None:
    seen.exits.append(("member-0", 75, 3.0))


def hold(seen: Observed, *, memory_kib: int = 0, tasks: int = 0) -> None:
    """An hour of resources, a sample a minute, each of which adds so much."""
    seen.resources = [
        Resources(START_MS + at * 60_000, 90_000 + at * memory_kib, 40, 30 + at * tasks)
        for at in range(60)
    ]


def eat_memory(seen: Observed) -> None:
    hold(seen, memory_kib=30)


def hold_too_much(seen: Observed) -> None:
    seen.peak_allowed_kib = 256 * 1024
    seen.peaks = [("member-0", 255 * 1024), ("member-1", 257 * 1024)]


def keep_tasks(seen: Observed) -> None:
    hold(seen, tasks=1)


BROKEN: dict[Callable[[Observed], None], str] = {
    lose_an_alert: "accounted",
    lose_a_dead_letter: "accounted",
    alert_of_a_silent_record: "invented",
    output_of_nobody: "invented",
    change_a_payload: "payload",
    change_a_dead_letter: "payload",
    wrong_code: "payload",
    share_an_id: "identity",
    swap_two_of_a_key: "order",
    misplace: "placement",
    repeat_without_a_reason: "duplicates",
    commit_too_early: "durability",
    commit_backwards: "monotony",
    delete_a_commit: "monotony",
    hide_the_log_of_commits: "monotony",
    stop_committing: "completion",
    leave_a_transaction_open: "transactions",
    stand_still: "progress",
    end_undrained: "drain",
    eat_memory: "memory",
    hold_too_much: "memory",
    keep_tasks: "leaks",
}


def test_a_good_history_passes() -> None:
    verdict = judge(good())

    assert verdict.violations == []
    assert (verdict.records, verdict.lost, verdict.duplicates) == (400, 0, 0)


@pytest.mark.parametrize(
    ("damage", "check"), BROKEN.items(), ids=lambda x: getattr(x, "__name__", x)
)
def test_damage_is_named(damage: Callable[[Observed], None], check: str) -> None:
    seen = good()
    damage(seen)

    verdict = judge(seen)

    assert check in verdict.checks


def test_every_check_has_a_history_that_violates_it() -> None:
    assert set(BROKEN.values()) == set(CHECKS)


def test_a_coordinator_that_tells_of_the_past_is_not_a_commit_that_went_back() -> None:
    seen = good()
    seen.samples.insert(300, replace(seen.samples[299], committed=seen.samples[100].committed))

    verdict = judge(seen)

    assert verdict.violations == []


def test_a_contiguous_replay_is_in_order() -> None:
    seen = good()
    key = seen.outputs[-1].key
    last_three = [record for record in seen.outputs if record.key == key][-3:]
    for at, record in enumerate(last_three):
        seen.outputs.append(replace(record, offset=10_000 + at))

    assert "order" not in judge(seen).checks


def test_a_replay_with_a_hole_is_not_in_order() -> None:
    seen = good()
    key = seen.outputs[-1].key
    third, _, last = [record for record in seen.outputs if record.key == key][-3:]
    seen.outputs += [replace(third, offset=10_000), replace(last, offset=10_001)]

    assert "order" in judge(seen).checks


def test_a_fault_may_have_more_time_to_recover_than_others() -> None:
    seen = good()
    stand_still(seen)
    seen.faults = [replace(fault, progress_ms=90_000) for fault in seen.faults]

    assert "progress" not in judge(seen).checks


def test_without_a_limit_any_peak_will_do() -> None:
    seen = good()
    seen.peaks = [("member-0", 257 * 1024)]

    assert "memory" not in judge(seen).checks


def test_a_kill_allows_what_was_in_flight_and_100_ms_of_completions() -> None:
    seen = good()
    seen.faults.append(Fault("kill", START_MS + 300, START_MS + 300, kills=True, in_flight=4))
    recent = sum(START_MS + 200 < r.at_ms <= START_MS + 305 for r in (*seen.outputs, *seen.dead))

    assert judge(seen).allowed == recent + 4


def test_exactly_once_allows_no_repeat_whatever_happened() -> None:
    seen = good()
    seen.exactly_once = True
    seen.faults.append(Fault("kill", START_MS + 300, START_MS + 300, kills=True, in_flight=4))
    seen.outputs.append(replace(seen.outputs[-1], offset=9_999))

    assert "duplicates" in judge(seen).checks


def test_steady_memory_has_no_slope() -> None:
    seen = good()
    hold(seen)

    assert judge(seen).violations == []
    assert judge(seen).slope_mib_per_hour == pytest.approx(0.0)


def test_the_slope_is_in_mib_per_hour() -> None:
    seen = good()
    hold(seen, memory_kib=1024)

    assert judge(seen).slope_mib_per_hour == pytest.approx(60.0)


def soaked(memory_mib: Callable[[float], float]) -> Observed:
    """A run of half an hour, a sample every ten seconds with more noise than real ones have."""
    seen = good()
    draw = random.Random(1)
    seen.resources = [
        Resources(
            START_MS + at * 10_000,
            int(1024 * (memory_mib(at / 360) + draw.gauss(0.0, 0.1))),
            40,
            30,
        )
        for at in range(186)
    ]
    return seen


def test_a_leak_of_2_mib_an_hour_is_caught_behind_noise_and_a_step() -> None:
    verdict = judge(soaked(lambda hour: 90.0 + 2.0 * hour + (3.0 if hour > 0.2 else 0.0)))

    assert verdict.checks == ["memory"]
    assert verdict.slope_mib_per_hour == pytest.approx(2.0, abs=0.7)


def test_a_little_more_with_every_fault_is_caught() -> None:
    # every two minutes 0.1 MiB: 3 MiB an hour
    verdict = judge(soaked(lambda hour: 90.0 + 0.1 * int(30 * hour)))

    assert verdict.checks == ["memory"]


def test_one_late_step_is_a_high_water_mark() -> None:
    verdict = judge(soaked(lambda hour: 90.0 + (4.0 if hour > 0.48 else 0.0)))

    assert verdict.violations == []


def test_what_was_deleted_unread_is_excused() -> None:
    seen = good()
    lost = seen.outputs.pop(5)
    source = next(r for r in seen.inputs if r.key == lost.key and r.at_ms == lost.at_ms)
    seen.excused.append((source.partition, source.offset, source.offset + 1))

    assert "accounted" not in judge(seen).checks
