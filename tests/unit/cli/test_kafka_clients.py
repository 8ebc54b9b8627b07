import asyncio

import pytest
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)

from service.cli import kafka_clients
from service.cli.exit_codes import CONFIGURATION
from service.cli.kafka_clients import AccessDeniedError, KafkaClients, refusal
from service.settings import build_settings


class Silent:
    """A client whose broker never answers."""

    def __init__(self) -> None:
        self.stopped = False

    async def start(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        self.stopped = True


async def test_a_client_that_is_given_up_while_it_connects_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Silent()
    monkeypatch.setattr(kafka_clients, "make_consumer", lambda **_: client)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0), KafkaClients(build_settings({}).kafka).consumer_client():
            pytest.fail("connected")

    assert client.stopped


async def test_who_may_write_to_no_topic_is_told_so_and_not_that_it_will_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Refused(Silent):
        async def start(self) -> None:
            raise ClusterAuthorizationFailedError

    client = Refused()
    monkeypatch.setattr(kafka_clients, "make_producer", lambda **_: client)

    with pytest.raises(AccessDeniedError, match="WRITE") as refused:
        await KafkaClients(build_settings({}).kafka).producer_client()

    assert refused.value.exit_code == CONFIGURATION
    assert client.stopped


@pytest.mark.parametrize("error", [TopicAuthorizationFailedError, GroupAuthorizationFailedError])
def test_a_refusal_names_the_right_that_is_missing(error: type[Exception]) -> None:
    denied = refusal(error(), "topic logs.dead", right="DELETE")

    assert isinstance(denied, AccessDeniedError)
    assert str(denied) == "topic logs.dead: access denied (needs DELETE)"
