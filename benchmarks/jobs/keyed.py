"""Job (b): the same logs with 10,000 keys, keyed alerts, per-key order, a coroutine handler."""

from dataclasses import replace
from typing import Any

from benchmarks.harness.model import Contender, Place
from benchmarks.jobs.commands import headrace, peer
from benchmarks.jobs.log_events import (
    alerts,
    log_key,
    log_value,
    sequence_of_alert,
)
from benchmarks.jobs.logs import JOB as LOGS
from benchmarks.jobs.logs import pipeline as logs_pipeline


def pipeline(place: Place) -> dict[str, Any]:
    """As the worked example, with a coroutine and an order per key."""
    wanted = logs_pipeline(place)
    handler = wanted["handlers"]["alerts"]
    handler |= {"use": "benchmarks.jobs.handlers:keyed_alert", "ordering": "key"}
    return wanted


JOB = replace(
    LOGS,
    name="keyed",
    title="Keyed: 10,000 keys, keyed alerts in order per key, a coroutine as handler",
    record=lambda number: (log_key(number), log_value(number)),
    expected=lambda number: alerts(number, log_key(number)),
    keyed=True,
    sequence=sequence_of_alert,
    contenders=(
        Contender(name="headrace run", command=headrace(pipeline)),
        Contender(
            name="headrace run, job logs",
            command=headrace(logs_pipeline),
            note="the plain handler of the first job on these keyed records, to compare with",
        ),
        Contender(name="confluent-kafka, tuned", command=peer("confluent_tuned")),
        Contender(name="aiokafka, tuned", command=peer("aiokafka_tuned")),
        Contender(name="aiokafka, naive", command=peer("aiokafka_naive"), share=0.5),
    ),
)
