"""What follows a failed attempt."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.delivery.retry import (
    RETRY_AFTER_MAX_S,
    DeadLetter,
    Delay,
    DelayTopic,
    ErrorKind,
    Retry,
    RetryPolicy,
    after_failure,
    classify,
)
from service.errors import FatalError, HandlerTimeoutError, PermanentError, TransientError

LADDER = (DelayTopic("retry.1m", 60.0), DelayTopic("retry.10m", 600.0))


def middle() -> float:
    return 0.5


@pytest.mark.parametrize(
    ("attempts", "expected_s"),
    [(1, 0.1), (2, 0.2), (3, 0.4), (7, 6.4), (8, 10.0), (1_000_000, 10.0)],
)
def test_the_wait_doubles_up_to_its_limit(attempts: int, expected_s: float) -> None:
    assert RetryPolicy().backoff_s(attempts, middle) == pytest.approx(expected_s)


@settings(max_examples=300)
@given(
    attempts=st.integers(1, 200),
    initial_s=st.floats(0, 5),
    extra_s=st.floats(0, 100),
    jitter=st.floats(0, 1),
    seed=st.integers(),
)
def test_jitter_stays_in_its_share_and_is_reproducible(
    attempts: int, initial_s: float, extra_s: float, jitter: float, seed: int
) -> None:
    policy = RetryPolicy(initial_s=initial_s, max_s=initial_s + extra_s, jitter=jitter)
    plain = RetryPolicy(initial_s=initial_s, max_s=initial_s + extra_s, jitter=0)

    delay_s = policy.backoff_s(attempts, Random(seed).random)

    base_s = plain.backoff_s(attempts, middle)
    assert base_s * (1 - jitter) - 1e-9 <= delay_s <= base_s * (1 + jitter) + 1e-9
    assert policy.backoff_s(attempts, Random(seed).random) == delay_s


@pytest.mark.parametrize(
    "settings_of_policy",
    [
        pytest.param({"attempts": 0}, id="no-attempt"),
        pytest.param({"initial_s": -1.0}, id="negative-wait"),
        pytest.param({"initial_s": 20.0}, id="initial-above-max"),
        pytest.param({"jitter": 1.5}, id="jitter-above-one"),
    ],
)
def test_a_policy_out_of_range_is_refused(settings_of_policy: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RetryPolicy(**settings_of_policy)  # type: ignore[arg-type]  # one field at a time


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermanentError(), ErrorKind.PERMANENT),
        (TransientError(), ErrorKind.TRANSIENT),
        (HandlerTimeoutError(), ErrorKind.TRANSIENT),
        (KeyError("x"), ErrorKind.TRANSIENT),
        (ExceptionGroup("", [PermanentError()]), ErrorKind.PERMANENT),
        (ExceptionGroup("", [TransientError(), KeyError("x")]), ErrorKind.TRANSIENT),
    ],
    ids=lambda value: value.name if isinstance(value, ErrorKind) else type(value).__name__,
)
def test_only_what_is_known_to_be_permanent_is_not_tried_again(
    error: Exception, kind: ErrorKind
) -> None:
    assert classify(error) is kind


def test_a_fatal_error_is_no_records_fault() -> None:
    error = FatalError("out of disk")

    with pytest.raises(FatalError) as caught:
        after_failure(RetryPolicy(), 1, error, middle)

    assert caught.value is error


def test_a_permanent_error_is_dead_lettered_at_once() -> None:
    decision = after_failure(RetryPolicy(), 1, PermanentError("no"), middle, handler="alerts")

    assert isinstance(decision, DeadLetter)
    assert (decision.failure.handler, decision.failure.attempts) == ("alerts", 1)


def test_the_last_attempt_is_not_followed_by_a_wait() -> None:
    policy = RetryPolicy(attempts=2)

    assert isinstance(after_failure(policy, 1, TransientError(), middle), Retry)
    assert isinstance(after_failure(policy, 2, TransientError(), middle), DeadLetter)


def test_a_policy_without_retries_gives_up_at_once() -> None:
    decision = after_failure(RetryPolicy(attempts=1), 1, TransientError(), middle)

    assert isinstance(decision, DeadLetter)


def test_a_record_climbs_the_ladder_one_try_a_rung_and_then_falls() -> None:
    policy = RetryPolicy(attempts=2, delay_topics=LADDER)
    error = TransientError("busy")

    decisions = [
        after_failure(policy, 2, error, middle, rung=0),
        after_failure(policy, 3, error, middle, rung=1),
        after_failure(policy, 4, error, middle, rung=2),
    ]

    assert decisions[:2] == [Delay("retry.1m", 60.0, 1), Delay("retry.10m", 600.0, 2)]
    assert isinstance(decisions[2], DeadLetter)
    assert decisions[2].failure.attempts == 4


def test_a_permanent_error_does_not_climb_the_ladder() -> None:
    policy = RetryPolicy(attempts=1, delay_topics=LADDER)

    assert isinstance(after_failure(policy, 1, PermanentError(), middle), DeadLetter)


@pytest.mark.parametrize(
    ("retry_after_s", "expected_s"),
    [
        pytest.param(3.0, 3.0, id="longer-than-ours"),
        pytest.param(0.01, 0.1, id="shorter-than-ours"),
        pytest.param(86_400.0, RETRY_AFTER_MAX_S, id="unreasonable"),
    ],
)
def test_the_wait_that_a_peer_names_is_kept_within_reason(
    retry_after_s: float, expected_s: float
) -> None:
    error = TransientError("slow down", retry_after_s=retry_after_s)

    decision = after_failure(RetryPolicy(), 1, error, middle)

    assert isinstance(decision, Retry)
    assert decision.delay_s == pytest.approx(expected_s)


def _asking(retry_after_s: Any) -> TransientError:
    return TransientError("busy", retry_after_s=retry_after_s)


class _ForgetfulError(TransientError):
    def __init__(self) -> None:  # and does not call ours
        pass


@pytest.mark.parametrize(
    ("error", "expected_s"),
    [
        pytest.param(_ForgetfulError(), 0.1, id="a-subclass-without-it"),
        pytest.param(_asking("7"), 7.0, id="a-header-as-it-came"),
        pytest.param(_asking("Fri, 31 Dec 1999 23:59:59 GMT"), 0.1, id="a-date"),
        pytest.param(_asking(float("nan")), 0.1, id="not-a-number"),
        pytest.param(_asking(10**400), 0.1, id="beyond-a-float"),
        pytest.param(_asking([3]), 0.1, id="a-list"),
    ],
)
def test_a_wait_that_is_none_does_not_stand_in_the_way_of_the_next_attempt(
    error: TransientError, expected_s: float
) -> None:
    decision = after_failure(RetryPolicy(), 1, error, middle)

    assert isinstance(decision, Retry)
    assert decision.delay_s == pytest.approx(expected_s)


@settings(max_examples=2000)
@given(
    attempts_allowed=st.integers(1, 6),
    rungs=st.integers(0, 3),
    permanent_at=st.one_of(st.none(), st.integers(1, 12)),
    restarts=st.sets(st.integers(1, 12)),
    seed=st.integers(),
)
def test_every_failing_record_ends_after_exactly_its_attempts(
    attempts_allowed: int, rungs: int, permanent_at: int | None, restarts: set[int], seed: int
) -> None:
    policy = RetryPolicy(
        attempts=attempts_allowed,
        delay_topics=tuple(DelayTopic(f"d{rung}", 1.0) for rung in range(rungs)),
    )
    random = Random(seed)
    attempts = rung = 0
    decision: object = None

    while not isinstance(decision, DeadLetter):
        if attempts in restarts:
            random = Random(attempts)  # a new process: only the counts survive
        attempts += 1
        permanent = attempts == permanent_at
        error = PermanentError() if permanent else TransientError()
        decision = after_failure(policy, attempts, error, random.random, rung=rung)
        rung = decision.rung if isinstance(decision, Delay) else rung

    most = attempts_allowed + rungs
    assert attempts == (most if permanent_at is None else min(most, permanent_at))
