"""What the real client asks a broker, with a connection that only listens."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiokafka.admin.client
import aiokafka.client
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import BrokerMetadata

from service.topic_creation import PRIVATE_NAMES, create_no_topics

METADATA, NEWEST = 3, 5


class Listening:
    """A connection on which every question is noted as it would go out."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def send(self, request: Any) -> None:
        self.asked.append(request.prepare({METADATA: (0, NEWEST)}))
        raise KafkaError


@pytest.fixture(autouse=True)
def as_the_client_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (aiokafka.client, aiokafka.admin.client):
        monkeypatch.setattr(module, "MetadataRequest", MetadataRequest)


def _listening(client: Any) -> Listening:
    connection = Listening()

    async def connect(*_: object, **__: object) -> Listening:
        return connection

    async def send(_node: object, request: Any) -> None:
        await connection.send(request)

    client._get_conn, client.send = connect, send
    client.cluster._brokers = {1: BrokerMetadata(1, "127.0.0.1", 1, None)}
    return connection


async def _client(topics: list[str]) -> list[Any]:
    client: Any = AIOKafkaClient(bootstrap_servers="127.0.0.1:1")
    connection = _listening(client)
    await client._metadata_update(client.cluster, topics)
    return connection.asked


async def _admin(topics: list[str]) -> list[Any]:
    admin: Any = AIOKafkaAdminClient(bootstrap_servers="127.0.0.1:1")
    connection = _listening(admin._client)
    with suppress(KafkaError):
        await admin.describe_topics(topics)
    return connection.asked


@pytest.mark.parametrize("ask", [_client, _admin])
@pytest.mark.parametrize("times", [1, 2])
async def test_it_asks_for_a_topic_without_making_it(
    ask: Callable[[list[str]], Awaitable[list[Any]]], times: int
) -> None:
    for _ in range(times):
        create_no_topics()

    (question,) = await ask(["logs"])

    assert (question.topics, question.allow_auto_topic_creation) == (["logs"], False)


@pytest.mark.parametrize("ask", [_client, _admin])
async def test_by_itself_the_client_lets_the_broker_make_it(
    ask: Callable[[list[str]], Awaitable[list[Any]]],
) -> None:
    # so that we notice when this is not needed any more
    (question,) = await ask(["logs"])

    assert question.allow_auto_topic_creation


def test_the_names_that_are_replaced_exist() -> None:
    modules: dict[str, Any] = {
        "aiokafka.client": aiokafka.client,
        "aiokafka.admin.client": aiokafka.admin.client,
    }
    assert set(PRIVATE_NAMES) == set(modules)
    for name, names in PRIVATE_NAMES.items():
        assert all(hasattr(modules[name], each) for each in names)
