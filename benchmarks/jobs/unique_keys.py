"""The logs with a key for each event that never comes again, as ids of requests are."""

from dataclasses import replace

from benchmarks.harness.model import Contender
from benchmarks.jobs.commands import headrace, peer
from benchmarks.jobs.log_events import alerts, log_value
from benchmarks.jobs.logs import JOB as LOGS
from benchmarks.jobs.logs import pipeline

_SCATTER = 2654435761
"""Odd, so that every number of 32 bits comes once."""


def unique_key(number: int) -> bytes:
    """A key of the form of a UUID."""
    return b"%08x-1c0f-4d2a-9e5b-%012x" % (number * _SCATTER % 2**32, number)


JOB = replace(
    LOGS,
    name="unique_keys",
    title="Unique keys: the logs with a UUID for each event, which is the key of its alert",
    record=lambda number: (unique_key(number), log_value(number)),
    expected=lambda number: alerts(number, unique_key(number)),
    keyed=True,
    contenders=(
        Contender(name="headrace run", command=headrace(pipeline)),
        Contender(name="confluent-kafka, tuned", command=peer("confluent_tuned")),
        Contender(name="aiokafka, tuned", command=peer("aiokafka_tuned")),
    ),
)
