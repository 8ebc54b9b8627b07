"""Job (c): a handler that waits 10 ms for something else, 1,000 calls at once."""

from collections.abc import Callable
from typing import Any

import orjson

from benchmarks.harness.model import Contender, Job, Output, Place
from benchmarks.jobs.commands import headrace, peer
from benchmarks.jobs.log_events import canonical_alert, log_key, log_value

CONCURRENCY = 1000
FEWER = 250
"""So few that the calls, and not the processor, are the limit: 25,000 events a second at most."""


def pipeline(ordering: str, concurrency: int = CONCURRENCY) -> Callable[[Place], dict[str, Any]]:
    """The waiting handler with this ordering, and so many calls at once."""

    def made(place: Place) -> dict[str, Any]:
        return {
            "sources": {"kafka": {"topics": [place.source], "group_id": place.group}},
            "normalizer": "log",
            "dead_letter": place.dead_letter,
            "handlers": {
                "io": {
                    "use": "benchmarks.jobs.handlers:wait_and_tell",
                    "output": place.output,
                    "ordering": ordering,
                    "concurrency": concurrency,
                }
            },
        }

    return made


def expected(number: int) -> tuple[Output, ...]:
    """One output for every event."""
    message = orjson.loads(log_value(number))["message"]
    return (Output("out", None, orjson.dumps({"message": message})),)


JOB = Job(
    name="io",
    title="I/O: the handler waits 10 ms, 1,000 calls at once",
    count=500_000,
    quick_count=150_000,
    record=lambda number: (log_key(number), log_value(number)),
    expected=expected,
    canonical=canonical_alert,
    contenders=(
        Contender(name="headrace run, unordered", command=headrace(pipeline("none"))),
        Contender(name="headrace run, per key", command=headrace(pipeline("key"))),
        Contender(
            name="headrace run, unordered, 250 calls",
            command=headrace(pipeline("none", FEWER)),
            share=0.3,
            quick=False,
        ),
        Contender(
            name="headrace run, per key, 250 calls",
            command=headrace(pipeline("key", FEWER)),
            share=0.3,
            quick=False,
        ),
        Contender(
            name="aiokafka, tuned, 1,000 tasks",
            command=peer("aiokafka_io", "1000"),
            note="by hand: no order per key, deadline, retry or dead letters",
        ),
        Contender(
            name="FastStream, 1,000 workers", command=peer("faststream_io", "1000"), share=0.03
        ),
        Contender(
            name="bare timers, asyncio",
            command=peer("bare_timers", "1000", "asyncio"),
            yardstick=True,
            note="1,000 tasks that sleep 10 ms again and again and do nothing else",
        ),
        Contender(
            name="bare timers, asyncio, 250 calls",
            command=peer("bare_timers", str(FEWER), "asyncio"),
            yardstick=True,
            quick=False,
        ),
        Contender(
            name="bare timers, uvloop",
            command=peer("bare_timers", "1000", "uvloop"),
            yardstick=True,
            quick=False,
        ),
    ),
)
