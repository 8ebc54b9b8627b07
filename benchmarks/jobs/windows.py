"""Job (f): figures of 10-second windows of 10,000 hosts, kept durable, at least once."""

from typing import Any

from benchmarks.harness.model import Contender, Job, Place
from benchmarks.jobs import logs
from benchmarks.jobs.commands import create_topics, headrace, peer
from benchmarks.jobs.metric_events import (
    HOSTS,
    LATENESS_S,
    SIZE_S,
    canonical_window,
    metric_key,
    metric_value,
    sequence_of_window,
    windows,
)


def pipeline(place: Place) -> dict[str, Any]:
    """The shipped handler, with its changelog."""
    return {
        "sources": {"kafka": {"topics": [place.source], "group_id": place.group}},
        "normalizer": "json",
        "dead_letter": place.dead_letter,
        "handlers": {
            "figures": {
                "use": "rolling_metrics",
                "output": place.output,
                "options": {
                    "time": "timestamp",
                    "size_s": SIZE_S,
                    "lateness_s": LATENESS_S,
                    # The last windows are to stay open while the outputs are checked.
                    "idle_s": 600,
                },
            }
        },
    }


JOB = Job(
    name="windows",
    title="Windows: eight figures of each 10-second window of 10,000 keys, state durable",
    count=1_000_000,
    quick_count=300_000,
    multiple=HOSTS,
    record=lambda number: (metric_key(number), metric_value(number)),
    expected=windows,
    canonical=canonical_window,
    keyed=True,
    sequence=sequence_of_window,
    # Windows come out all at once, so outputs say little about how far a contender has come.
    by_commits=True,
    contenders=(
        Contender(name="headrace run", command=headrace(pipeline), prepare=create_topics(pipeline)),
        Contender(
            name="headrace run, job logs",
            command=headrace(logs.pipeline),
            instead=logs.JOB,
            note="the first job in the same rounds, to compare with; its own events and outputs",
        ),
        Contender(
            name="Quix Streams",
            command=peer("quix_windows"),
            share=0.1,
            note="collects the values of a window in its RocksDB store, with a changelog, and "
            "adds them up at its end",
        ),
    ),
)
