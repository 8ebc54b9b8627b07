"""The logs as producers write them that do not wait for more: one record in a stored batch."""

from dataclasses import replace

from benchmarks.harness.model import Contender
from benchmarks.jobs.commands import headrace, peer
from benchmarks.jobs.logs import JOB as LOGS
from benchmarks.jobs.logs import pipeline

JOB = replace(
    LOGS,
    name="single_records",
    title="Single records: the logs, each in a stored batch of its own",
    count=200_000,
    quick_count=60_000,
    batch_bytes=400,  # one event and the header of its batch
    contenders=(
        Contender(name="headrace run", command=headrace(pipeline)),
        Contender(name="confluent-kafka, tuned", command=peer("confluent_tuned")),
        Contender(name="aiokafka, tuned", command=peer("aiokafka_tuned")),
    ),
)
