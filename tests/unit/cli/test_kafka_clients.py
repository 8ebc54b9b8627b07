import asyncio

import pytest

from service.cli import kafka_clients
from service.cli.kafka_clients import KafkaClients
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
