"""One broker for all runs of a session; it outlives what is done to it."""

import logging
from collections.abc import Iterator

import pytest

from tests.faults.bench import Bench
from tests.kafka.selection import Broker, choose


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    """The laboratory's Apache Kafka; there is no stand-in for it."""
    choice = choose()
    if choice.broker is not Broker.APACHE:
        if choice.refused:
            pytest.exit(choice.note, returncode=3)
        pytest.skip("only an Apache Kafka of our own can be killed and paused meaningfully")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it complains of what is done to it
    with Bench() as started:
        yield started
