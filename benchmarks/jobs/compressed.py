"""The logs in compressed batches, which unpack to a multiple of what is fetched."""

from dataclasses import replace

from benchmarks.harness.model import Contender
from benchmarks.jobs.commands import headrace, peer
from benchmarks.jobs.logs import JOB as LOGS
from benchmarks.jobs.logs import pipeline

JOB = replace(
    LOGS,
    name="compressed",
    title="Compressed: the logs in batches of lz4",
    compression="lz4",
    contenders=(
        Contender(name="headrace run", command=headrace(pipeline)),
        Contender(name="confluent-kafka, tuned", command=peer("confluent_tuned")),
        Contender(name="aiokafka, tuned", command=peer("aiokafka_tuned")),
    ),
)
