"""Job (a): 250-byte JSON logs, 3 of 10 become alerts, at least once."""

from typing import Any

from benchmarks.harness.model import Contender, Job, Place
from benchmarks.jobs.commands import headrace, peer
from benchmarks.jobs.log_events import alerts, canonical_alert, log_value


def pipeline(place: Place) -> dict[str, Any]:
    """The worked example, on the topics of the run."""
    return {
        "sources": {"kafka": {"topics": [place.source], "group_id": place.group}},
        "normalizer": "log",
        "dead_letter": place.dead_letter,
        "handlers": {
            "alerts": {
                "use": "log_alerts",
                "where": {"field": "level", "in": ["WARN", "ERROR"]},
                "output": place.output,
            }
        },
    }


JOB = Job(
    name="logs",
    title="Logs: 250-byte JSON events, WARN and ERROR become alerts, at least once",
    count=1_000_000,
    quick_count=300_000,
    record=lambda number: (None, log_value(number)),
    expected=alerts,
    canonical=canonical_alert,
    contenders=(
        Contender(name="headrace run", command=headrace(pipeline)),
        Contender(name="confluent-kafka, tuned", command=peer("confluent_tuned")),
        Contender(name="aiokafka, tuned", command=peer("aiokafka_tuned")),
        Contender(name="aiokafka, naive", command=peer("aiokafka_naive"), quick=False),
        Contender(name="FastStream, batches", command=peer("faststream_batch"), share=0.5),
        Contender(name="FastStream, per message", command=peer("faststream_message"), share=0.1),
        Contender(name="Quix Streams", command=peer("quix_streams"), share=0.3, quick=False),
        Contender(
            name="Bytewax",
            command=peer("bytewax_flow"),
            share=0.5,
            commits=False,
            quick=False,
            note="keeps positions in its own recovery store and commits nothing to Kafka",
        ),
        Contender(name="Faust", command=peer("faust_app"), share=0.03, quick=False),
        Contender(
            name="in-process floor",
            command=peer("floor"),
            yardstick=True,
            note="decode the record batches, parse, check and append, all in memory: the least "
            "that Python pays for this job",
        ),
    ),
)
