"""What a client may do, and know."""

import pytest

from service.server.principal import ANYBODY, Principal, keys_shown_to

TOPICS = ("logs.raw", "alerts")


def named(*topics: str) -> Principal:
    return Principal(name="dashboard", pipelines=frozenset(), topics=frozenset(topics))


@pytest.mark.parametrize(
    ("principal", "loopback", "shown"),
    [
        pytest.param(named("alerts"), False, ["alerts"], id="token-of-one-topic"),
        pytest.param(named("alerts"), True, ["alerts"], id="token-on-loopback"),
        pytest.param(named("*"), False, ["logs.raw", "alerts"], id="token-of-all"),
        pytest.param(named(), False, [], id="token-of-a-producer"),
        pytest.param(ANYBODY, False, ["alerts"], id="anonymous"),
        pytest.param(ANYBODY, True, ["logs.raw", "alerts"], id="nobody-else-is-here"),
    ],
)
def test_keys_are_shown_to_whoever_may_read_their_topic(
    principal: Principal, *, loopback: bool, shown: list[str]
) -> None:
    may_see = keys_shown_to(principal, watched=["alerts"], loopback=loopback)

    assert [topic for topic in TOPICS if may_see(topic)] == shown
