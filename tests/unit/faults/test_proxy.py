"""Replies that arrive damaged still answer their question: the correlation id stays."""

import pytest

from tests.faults.proxy import Effect, damaged

HEAD = b"\0\0\0\x07"
REPLY = HEAD + bytes(range(1, 41))


def test_a_truncated_reply_ends_in_the_middle() -> None:
    assert damaged(REPLY, Effect.TRUNCATE) == REPLY[:22]
    assert damaged(HEAD, Effect.TRUNCATE) == HEAD


def test_a_scrambled_reply_is_as_long_and_begins_with_noise() -> None:
    reply = damaged(REPLY, Effect.SCRAMBLE)

    assert reply[:4] == HEAD
    assert all(found != sent for found, sent in zip(reply[4:20], REPLY[4:20], strict=True))
    assert reply[20:] == REPLY[20:]


@pytest.mark.parametrize("effect", [Effect.DELAY, Effect.STALL], ids=lambda effect: effect.value)
def test_other_effects_leave_it_as_it_is(effect: Effect) -> None:
    assert damaged(REPLY, effect) == REPLY
