"""Which step of a connection failed, in words that tell one from the other."""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Iterator

import pytest
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed

from service.cli.kafka_refusals import LOGGER, refusals, step_of
from service.cli.kafka_tools import kafka_tools
from service.errors import BrokerUnavailableError
from service.settings import KafkaSettings


@pytest.fixture(autouse=True)
def level() -> Iterator[int]:
    """What the tools leave behind of the client's logger is taken back."""
    logger = logging.getLogger("aiokafka")
    before = logger.level
    yield before
    logger.setLevel(before)


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (socket.gaierror(-2, "Name or service not known"), "name: Name or service not known"),
        (ConnectionRefusedError(errno.ECONNREFUSED, ""), "connection: Connection refused"),
        (TimeoutError(), "connection: no answer in time"),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), "TLS: certificate verify"),
        (SaslAuthenticationFailed("wrong password"), "authentication: [Error 58] Sasl"),
        (KafkaConnectionError("closed"), "no answer of a Kafka broker (KafkaConnectionError: cl"),
        (ConnectionResetError(), "no answer of a Kafka broker (ConnectionResetError): is it"),
    ],
    ids=["name", "refused", "silent", "certificate", "password", "no Kafka", "reset"],
)
def test_each_step_has_its_word(error: Exception, step: str) -> None:
    assert step_of(error).startswith(step)


def test_only_what_is_said_of_an_address_is_told() -> None:
    log = logging.getLogger(LOGGER)
    with refusals() as lines:
        log.error("Unable to update metadata from %s", [1])
        log.error("%s %s %s", 1, 2, 3)
        log.error('Unable connect to "%s:%s": %s', "a", 1, OSError(errno.ECONNREFUSED, ""))

    assert lines == ["a:1: connection: Connection refused"]


def test_the_logger_is_as_it_was_afterwards() -> None:
    log = logging.getLogger(LOGGER)
    before = (log.level, log.propagate, list(log.handlers))
    with refusals():
        assert not log.propagate

    assert (log.level, log.propagate, list(log.handlers)) == before


@pytest.mark.real_loops
async def test_every_address_says_why_it_was_given_up() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = KafkaSettings(bootstrap_servers=("127.0.0.1:1", f"127.0.0.1:{port}"))
    async with server, kafka_tools(settings) as tools:
        with pytest.raises(BrokerUnavailableError) as told:
            await tools.partitions(["logs"])

    refused, closed = sorted(str(told.value).splitlines())
    assert refused == "127.0.0.1:1: connection: Connection refused"
    assert closed.startswith(f"127.0.0.1:{port}: no answer of a Kafka broker (")
