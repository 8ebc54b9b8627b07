"""Waits double, have jitter, are bounded and start over."""

from service.delivery.backoff import Backoff


def test_waits_double_up_to_the_largest_with_jitter_in_the_upper_half() -> None:
    backoff = Backoff(initial_s=1, max_s=8)
    bounds_s = [1, 2, 4, 8, 8, 8]

    waits_s = [backoff.next_s() for _ in bounds_s]

    assert all(b / 2 <= w <= b for w, b in zip(waits_s, bounds_s, strict=True))
    assert len(set(waits_s)) == len(waits_s)


def test_a_success_starts_over() -> None:
    backoff = Backoff(initial_s=1, max_s=8)
    for _ in range(5):
        backoff.next_s()

    backoff.reset()

    assert backoff.next_s() <= 1
