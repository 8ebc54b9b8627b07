"""Which broker the tests talk to: the one named, else Apache Kafka, else a stand-in, said loudly.

The stand-in (the embedded broker of ``headrace demo``) forgives what Apache Kafka does not, so a
run on it proves less.  Where that would go unnoticed (continuous integration) it is refused.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from tests.kafka.jars import missing_programs

ADDRESS_VARIABLE = "HEADRACE_TEST_KAFKA"
"""Names a broker (``host:port``) to use in place of an own one."""


class Broker(Enum):
    """The kinds of broker a test run can use."""

    GIVEN = "given"
    APACHE = "apache"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The broker of a test run.

    Args:
        broker: Which kind.
        address: ``host:port`` of a given one, else empty.
        note: One line for the reader of the test output.
        refused: Whether the run must fail instead of using it.
    """

    broker: Broker
    address: str = ""
    note: str
    refused: bool = False


def choose(environ: Mapping[str, str] = os.environ) -> Choice:
    """The broker for this machine and this environment; starts nothing."""
    if address := environ.get(ADDRESS_VARIABLE):
        return Choice(
            broker=Broker.GIVEN, address=address, note=f"Kafka: {address} ({ADDRESS_VARIABLE})"
        )
    missing = missing_programs()
    if not missing:
        return Choice(broker=Broker.APACHE, note="Kafka: Apache Kafka, started by the tests")
    absent = " and ".join(missing)
    if environ.get("CI", "").lower() in {"1", "true"}:
        return Choice(
            broker=Broker.EMBEDDED,
            note=f"NO APACHE KAFKA: {absent} not installed, and CI does not run without it",
            refused=True,
        )
    return Choice(
        broker=Broker.EMBEDDED,
        note=f"!!! NOT APACHE KAFKA: {absent} not installed, these tests use the embedded "
        "stand-in broker and prove less !!!",
    )
