"""One partition's suspicion: what is noted, who is suspected, and when it ends."""

import pytest

from service.delivery.commit_metadata import Journal, Progress
from service.delivery.suspicion import (
    HEADROOM_MAX,
    UNLIMITED,
    Caution,
    PartitionWatch,
    QuarantinePolicy,
)

POLICY = QuarantinePolicy(restarts=3, window=4, window_max=8, headroom=10)


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


def died(
    crashes: int, *, window_end: int, suspects_end: int | None = None, alone: int | None = None
) -> Journal:
    """What an owner left that did not close the partition."""
    return Journal(
        owner=7, crashes=crashes, window_end=window_end, suspects_end=suspects_end, alone=alone
    )


def test_a_partition_that_was_closed_in_order_is_free() -> None:
    watch = watch_of(None, outstanding=1_000_000)

    assert watch.caution is Caution.FREE
    assert watch.room == UNLIMITED


def test_opening_is_noted_before_the_first_dispatch_and_allows_for_what_follows() -> None:
    watch = watch_of(None)

    journal = watch.admit(10, 14)

    assert journal == Journal(owner=1, window_end=20)
    assert watch.admit(10, 14) == journal  # the commit failed: it is still due
    watch.wrote(journal)
    assert watch.admit(10, 14) is None
    assert watch.admit(14, 15) is None


def test_the_bound_of_a_free_partition_moves_with_its_commits_before_it_is_reached() -> None:
    watch = watch_of(None)
    watch.wrote(watch.journal)

    assert watch.admit(10, 16) is None
    moved = watch.unwritten
    assert moved == Journal(owner=1, window_end=26)
    watch.wrote(moved)

    assert watch.admit(16, 26) is None


def test_nothing_passes_the_bound_that_was_noted() -> None:
    watch = watch_of(None)
    watch.wrote(watch.journal)

    assert watch.admit(10, 20) is None
    assert watch.admit(20, 21) == Journal(owner=1, window_end=30)
    assert watch.admit(20, 31) == Journal(owner=1, window_end=41)


@pytest.mark.parametrize(
    ("moved", "headroom"),
    [
        pytest.param(1, 10, id="slow"),
        pytest.param(100, 400, id="fast"),
        pytest.param(1_000_000, HEADROOM_MAX, id="within-a-limit"),
    ],
)
def test_the_bound_of_a_fast_partition_is_farther_ahead(moved: int, headroom: int) -> None:
    watch = watch_of(None)
    journal = watch.admit(10, 10 + moved)
    watch.wrote(watch.journal if journal is None else journal)

    assert watch.admit(10 + moved, 1_000_010 + moved) == Journal(
        owner=1, window_end=1_000_010 + moved + headroom
    )


def test_the_bound_comes_nearer_slowly_when_a_partition_gets_slower() -> None:
    watch = watch_of(None)
    journal = watch.admit(10, 110)
    assert journal is not None
    watch.wrote(journal)

    watch.wrote(journal)  # nothing has moved since

    assert watch.admit(110, 1_110) == Journal(owner=1, window_end=1_110 + 300)


def test_a_partition_whose_owner_died_is_watched_in_small_noted_steps() -> None:
    watch = watch_of(died(0, window_end=60))

    journal = watch.admit(10, 14)

    assert watch.caution is Caution.WATCHED
    assert journal == Journal(owner=1, crashes=1, window_end=14, suspects_end=60)
    watch.wrote(journal)
    assert watch.admit(10, 14) is None
    assert watch.admit(14, 15) == Journal(owner=1, crashes=1, window_end=15, suspects_end=60)


@pytest.mark.parametrize(
    ("outstanding", "room"),
    [
        pytest.param(0, 4, id="nothing-runs"),
        pytest.param(2, 2, id="half-of-it-is-through"),
        pytest.param(3, 0, id="too-little-for-a-commit"),
        pytest.param(9, 0, id="too-much-runs"),
    ],
)
def test_a_watched_partition_waits_until_half_of_its_window_is_free(
    outstanding: int, room: int
) -> None:
    assert watch_of(died(0, window_end=60), outstanding=outstanding).room == room


def test_every_window_that_is_survived_doubles_the_next_up_to_a_limit() -> None:
    watch = watch_of(died(0, window_end=100))
    rooms: list[int] = []
    at = 10

    for _ in range(5):
        rooms.append(watch.room)
        watch.admit(at, at + watch.room)
        at += rooms[-1]

    assert rooms == [4, 4, 8, 8, 8]


def test_asking_again_for_the_same_batch_does_not_widen_the_window() -> None:
    watch = watch_of(died(0, window_end=100))

    for _ in range(5):
        watch.admit(10, 14)

    assert watch.room == 4


def test_a_process_that_gets_its_partition_back_did_not_die() -> None:
    assert watch_of(Journal(owner=1, window_end=60), owner=1).caution is Caution.FREE


def test_a_death_with_nothing_in_flight_is_held_against_nobody() -> None:
    free = watch_of(died(0, window_end=10))
    watched = watch_of(died(1, window_end=10, suspects_end=40))

    assert free.caution is Caution.FREE
    assert watched.journal == Journal(owner=1, crashes=1, window_end=10, suspects_end=40)


def test_a_death_in_front_of_the_first_ones_suspects_narrows_them() -> None:
    watch = watch_of(died(1, window_end=14, suspects_end=40))

    assert watch.caution is Caution.ALONE
    assert watch.journal == Journal(owner=1, crashes=2, window_end=10, suspects_end=14)


def test_a_death_behind_the_first_ones_suspects_does_not_widen_them() -> None:
    watch = watch_of(died(1, window_end=40, suspects_end=14))

    assert watch.journal == Journal(owner=1, crashes=2, window_end=10, suspects_end=14)


def test_a_death_after_every_suspect_survived_is_a_first_one() -> None:
    watched = watch_of(died(0, window_end=14))
    watched.admit(10, 20)
    watched.progressed(14)
    left = watched.admit(20, 24)
    assert left is not None

    after = watch_of(left, next_offset=14, owner=2)

    assert after.caution is Caution.WATCHED
    assert after.journal.crashes == 1
    assert after.journal.suspects_end == left.window_end


def test_the_suspicion_ends_with_its_last_suspect() -> None:
    watch = watch_of(died(0, window_end=60))

    watch.progressed(59)
    assert watch.room == POLICY.window
    watch.progressed(60)

    assert watch.room == UNLIMITED
    assert watch.admit(60, 65) == Journal(owner=1, window_end=75)


def test_the_notes_of_a_suspicion_that_ended_do_not_cover_what_runs_freely() -> None:
    watch = watch_of(died(0, window_end=14))
    noted = watch.admit(10, 20)
    assert noted is not None
    watch.wrote(noted)

    watch.progressed(14)

    assert watch.admit(14, 15) == Journal(owner=1, window_end=20)


def test_leaving_in_order_under_suspicion_neither_adds_nor_forgives() -> None:
    left = watch_of(died(1, window_end=14, suspects_end=40)).closing_journal
    assert left is not None
    assert not left.open

    after = watch_of(left)

    assert after.caution is Caution.ALONE
    assert (
        after.closing_journal
        == left
        == Journal(open=False, owner=1, crashes=2, window_end=10, suspects_end=14)
    )


def test_suspects_run_one_at_a_time_and_one_commit_takes_back_a_name_and_gives_the_next() -> None:
    left = died(1, window_end=13, suspects_end=40)
    watch = watch_of(left)

    journal = watch.admit(10, 11)

    assert watch.room == 1
    assert watch_of(left, outstanding=1).room == 0
    assert journal == Journal(owner=1, crashes=2, window_end=11, suspects_end=13, alone=10)
    watch.wrote(journal)
    watch.progressed(11)
    following = watch.admit(11, 12)
    assert following == Journal(owner=1, crashes=2, window_end=12, suspects_end=13, alone=11)


def test_nothing_runs_freely_while_a_commit_still_names_somebody() -> None:
    watch = watch_of(died(1, window_end=11, suspects_end=40))
    named = watch.admit(10, 11)
    assert named is not None
    watch.wrote(named)

    watch.progressed(11)

    assert watch.caution is Caution.FREE
    assert watch.admit(11, 11) == Journal(owner=1, window_end=21)


def test_when_all_suspects_are_done_the_partition_is_free() -> None:
    watch = watch_of(died(1, window_end=13, suspects_end=40))

    watch.progressed(13)

    assert watch.caution is Caution.FREE


def test_being_named_once_is_not_enough() -> None:
    watch = watch_of(died(2, window_end=12, suspects_end=13, alone=11))

    assert watch.verdict(11) is None
    assert watch.caution is Caution.ALONE


def test_whoever_survives_after_being_named_is_cleared() -> None:
    watch = watch_of(died(2, window_end=11, suspects_end=13, alone=10))
    watch.admit(10, 11)

    watch.progressed(11)

    assert watch.journal == Journal(owner=1, crashes=2, window_end=11, suspects_end=13)


def test_a_death_between_two_suspects_is_no_evidence() -> None:
    watch = watch_of(died(3, window_end=11, suspects_end=13))

    assert watch.journal.crashes == 3
    assert watch.verdict(11) is None


def test_the_one_named_at_the_last_two_crashes_is_condemned() -> None:
    watch = watch_of(died(3, window_end=12, suspects_end=13, alone=11))

    failure = watch.verdict(11)

    assert failure is not None
    assert (failure.code, failure.attempts) == ("poison", 4)
    assert watch.verdict(10) is None
    assert watch.verdict(12) is None


def test_the_verdict_outlives_a_crash_before_it_is_carried_out() -> None:
    first = watch_of(died(3, window_end=12, suspects_end=13, alone=11))
    noted = first.admit(10, 11)
    assert noted is not None

    second = watch_of(noted, owner=8)
    third = watch_of(second.closing_journal, owner=9)

    assert all(watch.verdict(11) is not None for watch in (first, second, third))


def test_a_named_record_that_finished_is_not_condemned() -> None:
    progress = Progress(
        finished=((11, 12),),
        journal=died(3, window_end=12, suspects_end=13, alone=11),
    )

    watch = PartitionWatch(
        POLICY, owner=1, next_offset=10, progress=progress, outstanding=lambda: 0
    )

    assert watch.verdict(11) is None
    assert watch.caution is Caution.ALONE


def test_after_the_burial_the_partition_is_free() -> None:
    watch = watch_of(died(3, window_end=12, suspects_end=13, alone=11))

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
        pytest.param({"window": 10, "window_max": 9}, id="window-beyond-its-limit"),
        pytest.param({"headroom": 0}, id="no-headroom"),
        pytest.param({"headroom": HEADROOM_MAX + 1}, id="too-much-headroom"),
    ],
)
def test_a_policy_out_of_range_is_refused(policy: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        QuarantinePolicy(**policy)
