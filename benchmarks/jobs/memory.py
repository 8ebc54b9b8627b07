"""Job (i): five million events wait, and the handler takes 10 ms for each, 64 at a time."""

from typing import Any

from benchmarks.harness.model import Contender, MemoryJob, Place
from benchmarks.jobs.commands import headrace, peer
from benchmarks.jobs.io import pipeline as io_pipeline
from benchmarks.jobs.log_events import log_key, log_value

CONCURRENCY = 64


def pipeline(place: Place) -> dict[str, Any]:
    """The handler of the I/O job with little concurrency."""
    wanted = io_pipeline("key")(place)
    wanted["handlers"]["io"]["concurrency"] = CONCURRENCY
    return wanted


JOB = MemoryJob(
    name="memory",
    title="Memory: a backlog of millions of events and a slow handler",
    count=5_000_000,
    quick_count=500_000,
    seconds=60.0,
    record=lambda number: (log_key(number), log_value(number)),
    contenders=(
        Contender(name="headrace run", command=headrace(pipeline)),
        Contender(name="FastStream, 64 workers", command=peer("faststream_io", str(CONCURRENCY))),
    ),
)
