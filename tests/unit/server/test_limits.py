"""Rates and counts, without clocks or sockets."""

from hypothesis import given
from hypothesis import strategies as st

from service.server.limits import ConnectionLimits, TokenBucket


def test_a_bucket_allows_a_burst_and_then_the_rate() -> None:
    bucket = TokenBucket(rate_per_s=2, burst=3, now_s=0)

    burst = [bucket.take(0) for _ in range(4)]
    later = [bucket.take(1) for _ in range(3)]

    assert burst == [True, True, True, False]
    assert later == [True, True, False]


def test_what_is_saved_while_nobody_could_take_is_allowed_beyond_the_burst_once() -> None:
    bucket = TokenBucket(rate_per_s=2, burst=3, now_s=0)

    bucket.save(5)
    piled_up = [bucket.take(5) for _ in range(14)]
    bucket.take(60)
    later = [bucket.take(60) for _ in range(3)]

    assert piled_up == [True] * 13 + [False]
    assert later == [True, True, False]


def test_what_was_saved_and_not_taken_at_once_lapses() -> None:
    bucket = TokenBucket(rate_per_s=2, burst=3, now_s=0)
    now_s = 0.0
    for _ in range(100):  # a client that sends one at a time to a pipeline that is slow
        assert bucket.take(now_s)
        now_s += 10
        bucket.save(now_s)
        now_s += 2

    flood = [bucket.take(now_s) for _ in range(10)]

    assert flood == [True] * 3 + [False] * 7


def test_taking_in_advance_says_how_long_to_wait() -> None:
    bucket = TokenBucket(rate_per_s=2, burst=1, now_s=0)

    waits = [bucket.take_in(0) for _ in range(3)]
    bucket.give_back()

    assert waits == [0.0, 0.5, 1.0]
    assert bucket.take_in(0) == 1.0


@given(
    gaps=st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=100),
    rate=st.integers(1, 20),
    burst=st.integers(1, 9),
)
def test_no_bucket_gives_more_than_burst_plus_rate(
    gaps: list[tuple[float, bool]], rate: int, burst: int
) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now_s, taken = 0.0, 0

    for gap_s, saved in gaps:
        now_s += gap_s
        if saved:
            bucket.save(now_s)
        taken += bucket.take(now_s)

    assert taken <= burst + rate * now_s + 1e-6


def test_each_limit_is_named_and_a_refusal_counts_nothing() -> None:
    limits = ConnectionLimits(total=3, per_principal=1, per_address=2)

    first = limits.acquire("a", "10.0.0.1")
    same_token = limits.acquire("a", "10.0.0.2")
    second = limits.acquire("b", "10.0.0.1")
    same_address = limits.acquire("c", "10.0.0.1")
    third = limits.acquire(None, "10.0.0.3")
    too_many = limits.acquire(None, "10.0.0.4")
    limits.release("a", "10.0.0.1")
    again = limits.acquire("a", "10.0.0.1")

    assert (first, second, third, again) == (None, None, None, None)
    assert [same_token, same_address, too_many] == [
        "too many connections of this token",
        "too many connections from this address",
        "too many connections",
    ]


def test_anybody_is_no_principal_to_limit() -> None:
    limits = ConnectionLimits(total=10, per_principal=1, per_address=None)

    assert [limits.acquire(None, "10.0.0.1") for _ in range(3)] == [None, None, None]
