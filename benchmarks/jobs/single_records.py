"""The logs as producers write them that do not wait for more: one record in a stored batch."""

from benchmarks.harness.model import Contender, Job
from benchmarks.jobs.commands import headrace, peer
from benchmarks.jobs.log_events import alerts, canonical_alert, log_value
from benchmarks.jobs.logs import pipeline

JOB = Job(
    name="single_records",
    title="Single records: the logs, each in a stored batch of its own",
    count=200_000,
    quick_count=60_000,
    record=lambda number: (None, log_value(number)),
    expected=alerts,
    canonical=canonical_alert,
    batch_bytes=400,  # one event and the header of its batch
    contenders=(
        Contender(name="headrace run", command=headrace(pipeline)),
        Contender(name="confluent-kafka, tuned", command=peer("confluent_tuned")),
        Contender(name="aiokafka, tuned", command=peer("aiokafka_tuned")),
    ),
)
