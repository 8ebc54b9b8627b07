"""A broker's name that stands for several addresses, of which the first is silent."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest
from aiokafka.client import AIOKafkaClient

from service.many_addresses import try_every_address
from tests.kafka.client import Kafka

pytestmark = pytest.mark.integration

SILENT = "127.0.0.2"


@contextlib.contextmanager
def silent(port: int) -> Iterator[None]:
    """Nobody answers at this port of :data:`SILENT`: its queue of connections is full."""
    with contextlib.ExitStack() as held:
        listening = held.enter_context(socket.socket())
        listening.bind((SILENT, port))
        listening.listen(0)
        for _ in range(4):
            caller = held.enter_context(socket.socket())
            caller.settimeout(0)
            caller.connect_ex((SILENT, port))
        yield


async def test_a_name_is_reached_at_whichever_of_its_addresses_answers(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(kafka.bootstrap.rpartition(":")[2])

    async def resolve(_host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in (SILENT, "127.0.0.1")
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    try_every_address()
    client = AIOKafkaClient(bootstrap_servers=f"kafka.test:{port}")

    with silent(port):
        try:
            async with asyncio.timeout(4):
                await client.bootstrap()
            found = client.cluster.brokers()
        finally:
            await client.close()

    assert found
