"""Job (e): the logs again, exactly once: results and positions commit in one transaction."""

from dataclasses import replace
from typing import Any

from benchmarks.harness.model import Contender, Place
from benchmarks.jobs.commands import headrace, peer
from benchmarks.jobs.logs import JOB as LOGS
from benchmarks.jobs.logs import pipeline as at_least_once


def pipeline(place: Place) -> dict[str, Any]:
    """The worked example with the other delivery."""
    return at_least_once(place) | {"delivery": "exactly_once"}


JOB = replace(
    LOGS,
    name="exactly_once",
    title="Exactly once: the logs job with transactions",
    committed_only=True,
    contenders=(
        Contender(name="headrace run", command=headrace(pipeline)),
        Contender(
            name="headrace run, at least once",
            command=headrace(at_least_once),
            note="the same without transactions, to compare with",
        ),
        Contender(name="confluent-kafka, tuned", command=peer("confluent_transactions")),
        Contender(name="aiokafka, tuned", command=peer("aiokafka_transactions")),
        Contender(name="Quix Streams", command=peer("quix_streams", "exactly-once"), share=0.3),
    ),
)
