"""Whatever a broker lets through, transactions come to end in time, and stay so."""

from hypothesis import given
from hypothesis import strategies as st

from service.publishers.transaction_bound import TransactionBound

MAX_BYTES = 16 * 1024 * 1024
TIME_S = 20.0


@given(rate=st.integers(1, 10 * MAX_BYTES), partitions=st.integers(1, 8))
def test_with_a_rate_that_stays_the_same_none_runs_out_of_time_for_ever(
    rate: int, partitions: int
) -> None:
    bound = TransactionBound(MAX_BYTES, time_s=TIME_S)
    now_s, ran_out = 0.0, list[int]()

    for turn in range(200):
        size_bytes = max(1, bound.size_bytes)
        began_s = now_s
        if size_bytes / rate > TIME_S:
            ran_out.append(turn)
            now_s += TIME_S
            for _ in range(partitions):  # side by side
                bound.ran_out(size_bytes, began_s=began_s, now_s=now_s)
        else:
            now_s += size_bytes / rate
            bound.ended(size_bytes, took_s=size_bytes / rate)

    assert ran_out == list(range(len(ran_out)))  # each halves it, and then never again
    assert bound.size_bytes >= min(MAX_BYTES, rate * TIME_S / 4)


@given(st.integers(1, MAX_BYTES))
def test_after_a_time_of_trouble_it_is_as_large_as_before(lowered_bytes: int) -> None:
    bound = TransactionBound(MAX_BYTES, time_s=TIME_S)
    bound.ran_out(2 * lowered_bytes, began_s=0.0, now_s=TIME_S)

    for _ in range(100):
        bound.ended(bound.size_bytes, took_s=0.1)

    assert not bound.lowered


def test_what_is_far_from_the_bound_says_nothing_of_what_is_more() -> None:
    bound = TransactionBound(MAX_BYTES, time_s=TIME_S)
    bound.ran_out(1000, began_s=0.0, now_s=TIME_S)

    bound.ended(100, took_s=0.1)

    assert bound.size_bytes == 500
