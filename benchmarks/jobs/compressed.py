"""The logs in compressed batches, which unpack to a multiple of what is fetched."""

from benchmarks.harness.model import Contender, Job
from benchmarks.jobs.commands import headrace, peer
from benchmarks.jobs.log_events import alerts, canonical_alert, log_value
from benchmarks.jobs.logs import pipeline

JOB = Job(
    name="compressed",
    title="Compressed: the logs in batches of lz4",
    count=1_000_000,
    quick_count=300_000,
    record=lambda number: (None, log_value(number)),
    expected=alerts,
    canonical=canonical_alert,
    compression="lz4",
    contenders=(
        Contender(name="headrace run", command=headrace(pipeline)),
        Contender(name="confluent-kafka, tuned", command=peer("confluent_tuned")),
        Contender(name="aiokafka, tuned", command=peer("aiokafka_tuned")),
    ),
)
