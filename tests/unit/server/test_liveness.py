"""When a peer is pinged, and when it has not answered for too long."""

import pytest

from service.server.liveness import LOOK_INTERVAL_S, PING_IDLE_S, Liveness


def peer(limit_s: float = 10.0) -> Liveness:
    """One that was heard of at 0 s."""
    return Liveness(0.0, limit_s)


def test_a_peer_that_was_written_to_is_pinged_after_three_tenths_of_its_limit() -> None:
    liveness = peer()
    liveness.written = True

    early = liveness.ping_due(2.9), liveness.ping_waits
    due = liveness.ping_due(3.0), liveness.ping_waits

    assert early == (False, False)
    assert due == (False, True)  # it waits for something to go with


def test_a_ping_that_found_no_company_goes_by_itself_a_tenth_later() -> None:
    liveness = peer()
    liveness.written = True
    liveness.ping_due(3.0)

    assert liveness.look_at_s(3.0) == 4.0
    assert not liveness.ping_due(3.9)
    assert liveness.ping_due(4.0)


def test_a_peer_that_nobody_writes_to_is_pinged_seldom() -> None:
    liveness = peer()

    liveness.ping_due(PING_IDLE_S - 0.1)
    assert not liveness.ping_waits
    liveness.ping_due(PING_IDLE_S)
    assert liveness.ping_waits


def test_a_ping_that_is_not_answered_in_the_rest_of_the_limit_is_too_slow() -> None:
    liveness = peer()
    liveness.written = True
    liveness.pinged(4.0)

    assert not liveness.too_slow(9.9, unsent=False)
    assert liveness.too_slow(10.0, unsent=False)
    assert not liveness.ping_due(9.0)  # one is enough
    assert not liveness.ping_waits


def test_an_answer_is_a_sign_of_life() -> None:
    liveness = peer()
    liveness.written = True
    liveness.pinged(4.0)

    liveness.heard(9.0)

    assert not liveness.too_slow(12.0, unsent=False)
    assert not liveness.written


def test_the_silence_of_a_peer_whose_messages_nobody_reads_is_not_its_own() -> None:
    liveness = peer()
    liveness.pinged(4.0)
    liveness.read = False

    assert not liveness.too_slow(100.0, unsent=False)
    liveness.read = True
    assert not liveness.too_slow(100.0, unsent=False)  # it is asked again first


def test_a_socket_that_takes_nothing_is_too_slow_and_one_that_takes_again_is_not() -> None:
    liveness = peer()

    seen = [liveness.too_slow(at_s, unsent=True) for at_s in (1.0, 7.9, 8.0)]
    assert seen == [False, False, True]
    assert liveness.look_at_s(8.0) == 8.0

    assert not liveness.too_slow(8.1, unsent=False)
    assert not liveness.too_slow(8.2, unsent=True)


@pytest.mark.parametrize(
    ("now_s", "look_at_s"),
    [
        pytest.param(2.5, 3.0, id="when a ping may be due"),
        pytest.param(0.0, LOOK_INTERVAL_S, id="for what may have begun since"),
        pytest.param(50.0, 50.0 + LOOK_INTERVAL_S, id="one that owes nothing"),
    ],
)
def test_a_peer_is_looked_at_again(now_s: float, look_at_s: float) -> None:
    assert peer().look_at_s(now_s) == look_at_s
