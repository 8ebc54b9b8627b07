"""The pytest fixtures of every suite that needs a broker; a conftest imports what it wants.

``kafka`` is a `Kafka` for one test on the session's broker.  ``kafka_server`` is an Apache Kafka
of the test's own, to stop, kill and pause; there is no stand-in for it.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from service.cli.embedded_broker import embedded_broker
from tests.kafka.client import Kafka
from tests.kafka.selection import Broker, choose
from tests.kafka.server import QUICK_START, KafkaServer


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """Address of the broker that all tests of the session share."""
    choice = choose()
    if choice.refused:
        pytest.exit(choice.note, returncode=3)
    match choice.broker:
        case Broker.GIVEN:
            yield choice.address
        case Broker.APACHE:
            with KafkaServer(java_options=QUICK_START) as server:
                yield server.bootstrap
        case Broker.EMBEDDED:
            with _embedded() as address:
                yield address


@pytest.fixture
async def kafka(kafka_bootstrap: str) -> AsyncIterator[Kafka]:
    """Topics, records and offsets on the session's broker."""
    async with Kafka(kafka_bootstrap) as clients:
        yield clients


@pytest.fixture
def kafka_server() -> Iterator[KafkaServer]:
    """A running Apache Kafka that belongs to one test alone."""
    need_apache("can be killed and paused meaningfully")
    with KafkaServer(java_options=QUICK_START) as server:
        yield server


def need_apache(why: str) -> None:
    """Skip the test where there is no Apache Kafka to start, of which only one of its own will do.

    Args:
        why: What only a real one does; goes on "only a real Apache Kafka".
    """
    choice = choose()
    if choice.broker is Broker.EMBEDDED:
        if choice.refused:
            pytest.exit(choice.note, returncode=3)
        pytest.skip(f"only a real Apache Kafka {why}")


@contextmanager
def _embedded() -> Iterator[str]:
    """The embedded broker, from a thread whose loop outlives the loops of single tests."""
    started: list[str] = []
    failed: list[BaseException] = []
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with embedded_broker() as address:
            started.append(address)
            ready.set()
            await asyncio.to_thread(over.wait)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 -- handed to the waiting thread
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="embedded-broker")
    thread.start()
    try:
        ready.wait()
        if failed:
            raise failed[0]
        yield started[0]
    finally:
        over.set()
        thread.join()
