"""Job (g): latency at 1,000 and at 10,000 events a second, end to end and inside the service."""

from benchmarks.harness.model import Contender, LatencyJob
from benchmarks.jobs.commands import headrace, peer
from benchmarks.jobs.log_events import log_value
from benchmarks.jobs.logs import pipeline

JOB = LatencyJob(
    name="latency",
    title="Latency: one alert for each event at a steady rate",
    rates=(1_000, 10_000),
    seconds=15.0,
    value=lambda number: log_value(10 * number + 2),  # each of these is a WARN
    position=lambda found: (found - 2) // 10,
    contenders=(
        Contender(name="headrace run", command=headrace(pipeline)),
        Contender(name="confluent-kafka, tuned", command=peer("confluent_tuned", "latency")),
        Contender(name="aiokafka, tuned", command=peer("aiokafka_tuned")),
        Contender(name="FastStream, batches", command=peer("faststream_batch")),
        Contender(name="FastStream, per message", command=peer("faststream_message")),
    ),
)
