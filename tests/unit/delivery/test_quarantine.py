"""Poison that kills the process is found, and nobody beside it is blamed."""

from dataclasses import dataclass, field
from functools import partial
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.delivery.commit_metadata import Journal, Progress, decode, encode
from service.delivery.offsets import PartitionOffsets
from service.delivery.quarantine import (
    UNLIMITED,
    Caution,
    PartitionWatch,
    Quarantine,
    QuarantinePolicy,
)
from service.delivery.skips import SkipSet
from service.events import RecordBatch, SourceRecord

POLICY = QuarantinePolicy(restarts=3, window=4, trial=50)


def watch_of(
    journal: Journal | None, *, next_offset: int = 10, owner: int = 1, outstanding: int = 0
) -> PartitionWatch:
    return PartitionWatch(
        POLICY,
        owner=owner,
        next_offset=next_offset,
        progress=Progress(journal=journal),
        outstanding=lambda: outstanding,
    )


def test_a_partition_that_was_closed_in_order_is_free() -> None:
    watch = watch_of(None, outstanding=1_000_000)

    assert watch.caution is Caution.FREE
    assert watch.room == UNLIMITED


def test_opening_is_noted_before_the_first_dispatch_and_only_then() -> None:
    watch = watch_of(None)

    journal = watch.admit(10, 20)

    assert journal == Journal(owner=1)
    assert watch.admit(10, 20) == journal  # the commit failed: it is still due
    watch.wrote(journal)
    assert watch.admit(10, 20) is None
    assert watch.admit(20, 30) is None


def test_a_partition_whose_owner_died_is_watched_in_small_noted_steps() -> None:
    watch = watch_of(Journal(owner=7))

    journal = watch.admit(10, 14)

    assert watch.caution is Caution.WATCHED
    assert [
        watch_of(Journal(owner=7), outstanding=outstanding).room for outstanding in (0, 3, 9)
    ] == [4, 1, 0]
    assert journal == Journal(owner=1, crashes=1, window_end=14)
    watch.wrote(journal)
    assert watch.admit(10, 14) is None
    assert watch.admit(14, 15) == Journal(owner=1, crashes=1, window_end=15)


def test_a_process_that_gets_its_partition_back_did_not_die() -> None:
    assert watch_of(Journal(owner=1), owner=1).caution is Caution.FREE


def test_an_owner_that_died_with_nothing_in_flight_raises_no_suspicion() -> None:
    assert watch_of(Journal(owner=7, crashes=1, window_end=10)).caution is Caution.FREE


def test_the_suspicion_ends_with_the_trial() -> None:
    watch = watch_of(Journal(owner=7))

    watch.progressed(59)
    assert watch.room == POLICY.window
    watch.progressed(60)

    assert watch.room == UNLIMITED
    assert watch.admit(60, 70) == Journal(owner=1)


def test_leaving_in_order_under_suspicion_neither_adds_nor_forgives() -> None:
    left = watch_of(Journal(owner=7, crashes=1, window_end=14)).closing_journal
    assert left is not None
    assert not left.open

    assert watch_of(left).caution is Caution.ALONE
    assert watch_of(left).closing_journal == Journal(open=False, owner=1, crashes=2, window_end=14)


def test_suspects_run_one_at_a_time_each_named_before_it_runs() -> None:
    watch = watch_of(Journal(owner=7, crashes=1, window_end=13))

    journal = watch.admit(10, 11)

    assert watch.caution is Caution.ALONE
    assert watch.room == 1
    assert watch_of(Journal(owner=7, crashes=1, window_end=13), outstanding=1).room == 0
    assert journal == Journal(owner=1, crashes=2, window_end=13, alone=10)
    watch.wrote(journal)
    assert watch.admit(11, 12) == Journal(owner=1, crashes=2, window_end=13, alone=11)


def test_when_all_suspects_are_done_the_partition_is_free() -> None:
    watch = watch_of(Journal(owner=7, crashes=1, window_end=13))

    watch.progressed(13)

    assert watch.caution is Caution.FREE


def test_being_named_once_is_not_enough() -> None:
    watch = watch_of(Journal(owner=7, crashes=2, window_end=13, alone=11))

    assert watch.condemned is None
    assert watch.caution is Caution.ALONE


def test_whoever_survives_after_being_named_is_cleared() -> None:
    watch = watch_of(Journal(owner=7, crashes=2, window_end=13, alone=10))
    watch.admit(10, 11)

    watch.progressed(11)

    assert watch.journal == Journal(owner=1, crashes=2, window_end=13, alone=None)


def test_a_death_between_two_suspects_is_no_evidence() -> None:
    watch = watch_of(Journal(owner=7, crashes=3, window_end=13, alone=None))

    assert watch.journal.crashes == 3
    assert watch.condemned is None


def test_the_one_named_at_the_last_two_crashes_is_condemned() -> None:
    watch = watch_of(Journal(owner=7, crashes=3, window_end=13, alone=11))

    failure = watch.verdict(11)

    assert failure is not None
    assert (failure.code, failure.attempts) == ("poison", 4)
    assert watch.verdict(10) is None
    assert watch.verdict(12) is None


def test_the_verdict_outlives_a_crash_before_it_is_carried_out() -> None:
    first = watch_of(Journal(owner=7, crashes=3, window_end=13, alone=11))
    noted = first.admit(10, 11)
    assert noted is not None

    second = watch_of(noted, owner=8)
    third = watch_of(second.closing_journal, owner=9)

    assert (first.condemned, second.condemned, third.condemned) == (11, 11, 11)


def test_a_named_record_that_finished_is_not_condemned() -> None:
    progress = Progress(
        finished=((11, 12),), journal=Journal(owner=7, crashes=2, window_end=13, alone=11)
    )

    watch = PartitionWatch(
        POLICY, owner=1, next_offset=10, progress=progress, outstanding=lambda: 0
    )

    assert watch.condemned is None
    assert watch.caution is Caution.ALONE


def test_after_the_burial_the_partition_is_free() -> None:
    watch = watch_of(Journal(owner=7, crashes=3, window_end=13, alone=11))

    watch.progressed(11)
    assert watch.verdict(11)
    watch.progressed(12)

    assert watch.verdict(11) is None
    assert watch.caution is Caution.FREE
    assert watch.closing_journal is None


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param({"restarts": 2}, id="too-few-restarts"),
        pytest.param({"window": 0}, id="no-window"),
        pytest.param({"window": 10, "trial": 9}, id="trial-within-window"),
    ],
)
def test_a_policy_out_of_range_is_refused(policy: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        QuarantinePolicy(**policy)


class Suspicious:
    """Partitions under suspicion beside a free one, with what each has outstanding."""

    def __init__(self, *partitions: str) -> None:
        self.outstanding = dict.fromkeys([*partitions, "free"], 0)
        self.quarantine = Quarantine[str](POLICY, owner=1)
        self.watches: dict[str, PartitionWatch] = {}
        suspect = Progress(journal=Journal(owner=7, crashes=1, window_end=13))
        for name in self.outstanding:
            watch = self.quarantine.open(
                name,
                next_offset=10,
                progress=Progress() if name == "free" else suspect,
                outstanding=partial(self.outstanding.__getitem__, name),
            )
            watch.wrote(watch.journal)
            self.watches[name] = watch


def test_a_suspect_waits_until_nothing_else_runs_and_stops_the_rest() -> None:
    process = Suspicious("a")
    quarantine = process.quarantine
    assert quarantine.room("free") == UNLIMITED
    process.outstanding["free"] = 3

    granted = quarantine.begin_alone("a")

    assert not granted
    assert quarantine.room("free") == 0
    process.outstanding["free"] = 0
    assert quarantine.begin_alone("a")
    assert quarantine.room("free") == 0
    assert quarantine.end_alone("a") is None
    assert quarantine.room("free") == UNLIMITED


def test_two_suspects_never_have_the_turn_together() -> None:
    quarantine = Suspicious("a", "b").quarantine
    assert quarantine.begin_alone("a")

    assert not quarantine.begin_alone("b")
    assert quarantine.end_alone("a") is None
    assert quarantine.begin_alone("b")


def test_the_turn_ends_only_when_no_commit_names_the_suspect_any_more() -> None:
    process = Suspicious("a", "b")
    quarantine, watch = process.quarantine, process.watches["a"]
    assert quarantine.begin_alone("a")
    named = watch.admit(10, 11)
    assert named is not None
    watch.wrote(named)
    quarantine.progressed("a", 11)

    due = quarantine.end_alone("a")

    assert due == Journal(owner=1, crashes=2, window_end=13, alone=None)
    assert not quarantine.begin_alone("b")
    watch.wrote(due)
    assert quarantine.end_alone("a") is None
    assert quarantine.begin_alone("b")


def test_a_lost_partition_gives_its_turn_back() -> None:
    quarantine = Suspicious("a", "b").quarantine
    assert quarantine.begin_alone("a")

    quarantine.forget("a")

    assert quarantine.begin_alone("b")


class ProcessDied(Exception):  # noqa: N818 -- an event of the simulation, not an error
    """Everything in memory is gone."""


@dataclass
class Cluster:
    """What survives a process: the log, the group's commits and the published records."""

    length: int
    poison: dict[str, set[int]]
    committed: dict[str, tuple[int, str]] = field(default_factory=dict)
    done: dict[str, list[int]] = field(default_factory=dict)
    buried: dict[str, list[int]] = field(default_factory=dict)

    def finished(self) -> bool:
        return all(offset == self.length for offset, _ in self.committed.values())


class Process:
    """The edges around the pure parts, as small as they can be; dies of poison, late."""

    def __init__(self, cluster: Cluster, owner: int, rng: Random) -> None:
        self.cluster = cluster
        self.rng = rng
        self.quarantine = Quarantine[str](POLICY, owner=owner)
        self.watches: dict[str, PartitionWatch] = {}
        self.offsets: dict[str, PartitionOffsets] = {}
        self.running: list[tuple[str, RecordBatch, int]] = []
        for name, (next_offset, text) in cluster.committed.items():
            progress = decode(next_offset, text)
            offsets = PartitionOffsets(
                name, 0, epoch=0, position=next_offset, skips=SkipSet(progress.finished)
            )
            self.offsets[name] = offsets
            self.watches[name] = self.quarantine.open(
                name,
                next_offset=next_offset,
                progress=progress,
                outstanding=partial(getattr, offsets, "outstanding"),
            )

    def commit(self, name: str, journal: Journal) -> None:
        offsets = self.offsets[name]
        progress = Progress(finished=tuple(offsets.finished_ranges()), journal=journal)
        text = encode(offsets.next_offset, progress)
        self.cluster.committed[name] = (offsets.next_offset, text)
        self.watches[name].wrote(journal)

    def fetch(self, name: str) -> None:
        offsets, watch = self.offsets[name], self.watches[name]
        first = offsets.expected_offset
        if first == self.cluster.length:
            return
        room = self.quarantine.room(name)
        if not room:
            return
        alone = watch.caution is Caution.ALONE
        if alone and not self.quarantine.begin_alone(name):
            return
        end = min(first + min(room, self.rng.randint(1, 8)), self.cluster.length)
        batch = RecordBatch(
            name,
            0,
            [SourceRecord(b"", offset=offset) for offset in range(first, end)],
            next_offset=end,
        )
        offsets.deliver(batch)
        while (journal := watch.admit(first, end)) is not None:
            self.commit(name, journal)
        for index, record in enumerate(batch.records):
            if batch.done[index]:
                continue
            if watch.verdict(record.offset):
                self.cluster.buried[name].append(record.offset)
                batch.ack(index)
                continue
            self.running.append((name, batch, index))
        self.settle(name)

    def settle(self, name: str) -> None:
        self.quarantine.progressed(name, self.offsets[name].next_offset)
        if not self.offsets[name].outstanding:
            while (journal := self.quarantine.end_alone(name)) is not None:
                self.commit(name, journal)

    def finish_one(self) -> None:
        if not self.running:
            return
        name, batch, index = self.running.pop(self.rng.randrange(len(self.running)))
        offset = batch.records[index].offset
        if offset in self.cluster.poison[name]:
            raise ProcessDied
        self.cluster.done[name].append(offset)
        batch.ack(index)
        self.settle(name)

    def step(self) -> None:
        names = sorted(self.offsets)
        action = self.rng.random()
        if action < 0.4:
            self.fetch(self.rng.choice(names))
        elif action < 0.9:
            self.finish_one()
        else:
            name = self.rng.choice(names)
            self.commit(name, self.watches[name].journal)

    def leave(self) -> None:
        """Finish what runs, commit, and say that it was closed."""
        while self.running:
            self.finish_one()
        for name, watch in self.watches.items():
            offsets = self.offsets[name]
            progress = Progress(
                finished=tuple(offsets.finished_ranges()), journal=watch.closing_journal
            )
            self.cluster.committed[name] = (
                offsets.next_offset,
                encode(offsets.next_offset, progress),
            )


def run_until_done(cluster: Cluster, rng: Random, *, kills: int, leaves: int) -> int:
    """Start processes until the log is worked through; returns how many died of poison."""
    died = 0
    for owner in range(1, 1000):
        process = Process(cluster, owner, rng)
        end = rng.choice(["kill"] * kills + ["leave"] * leaves + ["stay"] * 3)
        steps_left = rng.randint(1, 200)
        try:
            while not cluster.finished():
                steps_left -= 1
                if steps_left < 0 and end == "kill":
                    kills -= 1
                    break
                if steps_left < 0 and end == "leave":
                    process.leave()
                    leaves -= 1
                    break
                process.step()
            else:
                return died
        except ProcessDied:
            died += 1
    raise AssertionError("still crashing after a thousand starts")


@settings(max_examples=1000)
@given(
    seed=st.integers(0, 1 << 32),
    length=st.integers(1, 60),
    poison=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 59)), max_size=3),
    leaves=st.integers(0, 3),
)
def test_poison_is_buried_and_every_innocent_record_is_done(
    seed: int, length: int, poison: list[tuple[str, int]], leaves: int
) -> None:
    poisoned = {
        name: {offset for where, offset in poison if where == name and offset < length}
        for name in "abc"
    }
    cluster = Cluster(
        length,
        poisoned,
        committed=dict.fromkeys("abc", (0, "")),
        done={name: [] for name in "abc"},
        buried={name: [] for name in "abc"},
    )

    died = run_until_done(cluster, Random(seed), kills=0, leaves=leaves)

    for name in "abc":
        assert set(cluster.buried[name]) == poisoned[name]
        assert set(cluster.done[name]) == set(range(length)) - poisoned[name]
    # Three crashes each, and what several partitions' suspicions cost one another.
    count = sum(map(len, poisoned.values()))
    assert 3 * bool(count) <= died <= 3 * count + 2 * count * count + 4 * leaves


@settings(max_examples=600)
@given(seed=st.integers(0, 1 << 32), kills=st.integers(0, 2))
def test_two_kills_from_outside_never_condemn_anyone(seed: int, kills: int) -> None:
    cluster = Cluster(
        60,
        {name: set() for name in "abc"},
        committed=dict.fromkeys("abc", (0, "")),
        done={name: [] for name in "abc"},
        buried={name: [] for name in "abc"},
    )

    run_until_done(cluster, Random(seed), kills=kills, leaves=2)

    for name in "abc":
        assert cluster.buried[name] == []
        assert set(cluster.done[name]) == set(range(60))
