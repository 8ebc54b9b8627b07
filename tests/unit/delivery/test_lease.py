"""A member that cannot prove that it is alive stops acting as one."""

import doctest

from hypothesis import given, settings
from hypothesis import strategies as st

from service.delivery import lease as lease_module
from service.delivery.lease import Lease


def test_the_example_in_the_docstring_holds() -> None:
    results = doctest.testmod(lease_module)

    assert results.attempted > 0
    assert results.failed == 0


def test_a_process_that_was_stopped_wakes_without_a_lease() -> None:
    lease = Lease(10.0)
    lease.renew(100.0)

    woke_at_s = 100.0 + 45.0

    assert not lease.held(woke_at_s)
    lease.renew(woke_at_s + 0.1)
    assert lease.held(woke_at_s + 0.2)


def test_a_slow_answer_counts_from_its_question() -> None:
    lease = Lease(10.0)

    lease.renew(100.0)  # answered at 106

    assert not lease.held(107.0)


def test_a_member_that_was_removed_needs_a_new_join() -> None:
    lease = Lease(10.0)
    lease.renew(100.0)

    lease.give_up()

    assert not lease.held(100.0)
    lease.renew(101.0)
    assert lease.held(101.0)


@settings(max_examples=1500)
@given(
    events=st.lists(
        st.tuples(st.floats(0.001, 20), st.sampled_from(["sent", "lost", "removed"])), max_size=20
    ),
    answer_s=st.floats(0, 6),
)
def test_the_lease_always_ends_before_the_session_does(
    events: list[tuple[float, str]], answer_s: float
) -> None:
    session_s = 10.0
    lease = Lease(session_s)
    now_s = 0.0
    reached_broker_at_s = float("-inf")

    for pause_s, event in events:
        now_s += pause_s
        if event == "removed":
            lease.give_up()
            reached_broker_at_s = float("-inf")
        if event == "sent":
            reached_broker_at_s = now_s  # at the earliest
            lease.renew(now_s)
            now_s += answer_s
        if lease.held(now_s):
            assert now_s - reached_broker_at_s < session_s
