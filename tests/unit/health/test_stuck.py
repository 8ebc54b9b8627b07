"""The eight stalls that a pager goes off for, as facts; each is named correctly."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.health.stuck import (
    HELD_S,
    PartitionFacts,
    RecordFacts,
    RecordState,
    blocking,
)
from service.metrics import Blocking, Cause


def _record(
    state: RecordState, *, state_s: float = 8.0, age_s: float = 8.0, attempts: int = 1
) -> RecordFacts:
    return RecordFacts(
        offset=42,
        key=b"user-7",
        handler="alerts",
        state=state,
        state_s=state_s,
        age_s=age_s,
        attempts=attempts,
    )


_RUNNING = _record(RecordState.RUNNING)
_WAITING = _record(RecordState.WAITING)

_STALLS: dict[str, tuple[PartitionFacts, Cause]] = {
    "a handler that hangs": (PartitionFacts(oldest=_RUNNING), Cause.SLOW_HANDLER),
    "a record parked between attempts": (
        PartitionFacts(oldest=_record(RecordState.PARKED, attempts=3)),
        Cause.RETRY,
    ),
    "a record that fails again and again quickly": (
        PartitionFacts(oldest=_record(RecordState.RUNNING, state_s=0.1, attempts=4)),
        Cause.RETRY,
    ),
    "a broker that is gone": (
        PartitionFacts(oldest=_RUNNING, broker_silent_s=7.0),
        Cause.BROKER,
    ),
    "outputs that nobody acknowledges": (
        PartitionFacts(oldest=_record(RecordState.PUBLISHING), publish_pending_s=8.0),
        Cause.BROKER,
    ),
    "commits that are refused": (
        PartitionFacts(oldest=_record(RecordState.RUNNING, state_s=0.1), commit_failing_s=6.0),
        Cause.BROKER,
    ),
    "every slot taken by others": (PartitionFacts(oldest=_WAITING), Cause.BACKPRESSURE),
    "a full channel": (PartitionFacts(intake_blocked_s=6.0), Cause.BACKPRESSURE),
    "a state that is not restored": (PartitionFacts(restoring_s=6.0), Cause.STATE),
    "a paused partition": (PartitionFacts(paused=True), Cause.PAUSED),
    "a rebalance that does not end": (
        PartitionFacts(oldest=_WAITING, rebalancing_s=6.0),
        Cause.REBALANCE,
    ),
    "a rebalance that waits for a handler": (
        PartitionFacts(oldest=_record(RecordState.RUNNING, state_s=30.0), rebalancing_s=6.0),
        Cause.SLOW_HANDLER,
    ),
    "waiting behind outputs that nobody acknowledges": (
        PartitionFacts(oldest=_WAITING, publish_pending_s=9.0),
        Cause.BROKER,
    ),
}


@pytest.mark.parametrize(("facts", "cause"), _STALLS.values(), ids=_STALLS.keys())
def test_a_stall_is_named(facts: PartitionFacts, cause: Cause) -> None:
    answer = blocking(facts)

    assert answer is not None
    assert answer.cause is cause


def test_the_record_in_the_way_is_named_with_its_handler_and_attempts() -> None:
    answer = blocking(PartitionFacts(oldest=_record(RecordState.PARKED, attempts=3)))

    assert answer == Blocking(
        cause=Cause.RETRY, offset=42, key="user-7", handler="alerts", attempts=3
    )


def test_a_key_that_is_no_text_is_escaped_and_cut() -> None:
    oldest = dataclasses.replace(_RUNNING, key=b"\xff" * 1_000_000)

    answer = blocking(PartitionFacts(oldest=oldest))

    assert answer is not None
    assert answer.key is not None
    assert answer.key == r"\xff" * 64


def test_the_first_beat_after_five_seconds_already_knows() -> None:
    just_now = _record(RecordState.WAITING, age_s=5.01, state_s=5.01)
    running = _record(RecordState.RUNNING, age_s=5.01, state_s=4.9)

    unacknowledged = blocking(PartitionFacts(oldest=just_now, publish_pending_s=4.9))
    slow = blocking(PartitionFacts(oldest=running))

    assert unacknowledged is not None
    assert unacknowledged.cause is Cause.BROKER
    assert slow is not None
    assert slow.cause is Cause.SLOW_HANDLER


def test_a_record_that_moves_after_a_long_wait_was_held_by_the_others() -> None:
    facts = PartitionFacts(oldest=_record(RecordState.RUNNING, state_s=0.2))

    answer = blocking(facts)

    assert answer is not None
    assert answer.cause is Cause.BACKPRESSURE


_SHORT = st.floats(0, HELD_S)


@given(
    state=st.sampled_from(RecordState),
    durations=st.tuples(_SHORT, _SHORT, _SHORT, _SHORT, _SHORT, _SHORT, _SHORT),
    attempts=st.integers(0, 9),
)
def test_nothing_that_is_quick_is_called_stuck(
    state: RecordState, durations: tuple[float, ...], attempts: int
) -> None:
    age_s, state_s, silent_s, pending_s, failing_s, blocked_s, rebalancing_s = durations
    facts = PartitionFacts(
        oldest=_record(state, age_s=age_s, state_s=min(state_s, age_s), attempts=attempts),
        broker_silent_s=silent_s,
        publish_pending_s=pending_s,
        commit_failing_s=failing_s,
        intake_blocked_s=blocked_s,
        rebalancing_s=rebalancing_s,
    )

    assert blocking(facts) is None


@given(state=st.sampled_from(RecordState), state_s=st.floats(0, 60), paused=st.booleans())
def test_an_old_record_always_has_a_cause(
    *, state: RecordState, state_s: float, paused: bool
) -> None:
    facts = PartitionFacts(oldest=_record(state, age_s=60.0, state_s=state_s), paused=paused)

    answer = blocking(facts)

    assert answer is not None
    assert answer.offset == 42
