"""Job (d): three handlers see every event, their results go to five topics."""

from typing import Any

import orjson

from benchmarks.harness.model import Contender, Job, Output, Place
from benchmarks.jobs.commands import headrace, peer
from benchmarks.jobs.log_events import ROUTES, alerts, canonical_alert, is_audited, log_value

TOPICS = ("alerts", "audit", "info", "warn", "error")


def pipeline(place: Place) -> dict[str, Any]:
    """Alerts, an audit of one in ten, and every event on to the topic of its level."""
    options = {"topics": dict(place.outputs)}
    return {
        "sources": {"kafka": {"topics": [place.source], "group_id": place.group}},
        "normalizer": "log",
        "dead_letter": place.dead_letter,
        "handlers": {
            "alerts": {
                "use": "log_alerts",
                "where": {"field": "level", "in": ["WARN", "ERROR"]},
                "output": place.outputs["alerts"],
            },
            "audit": {"use": "benchmarks.jobs.handlers:Audit", "options": options},
            "route": {"use": "benchmarks.jobs.handlers:Route", "options": options},
        },
    }


def in_transactions(place: Place) -> dict[str, Any]:
    """The same, exactly once: what one handler holds back, the others of the record wait for."""
    return pipeline(place) | {"delivery": "exactly_once"}


def expected(number: int) -> tuple[Output, ...]:
    """What the three handlers make of the event."""
    event = orjson.loads(log_value(number))
    message = event["message"]
    routed = Output(ROUTES[event["level"]], None, orjson.dumps({"routed": message}))
    audited = Output("audit", None, orjson.dumps({"audited": message}))
    alerted = tuple(Output("alerts", None, alert.value) for alert in alerts(number))
    return (*alerted, *((audited,) if is_audited(message) else ()), routed)


JOB = Job(
    name="fanout",
    title="Fan-out: three handlers an event, five output topics, 1.4 results an event",
    count=500_000,
    quick_count=150_000,
    record=lambda number: (None, log_value(number)),
    expected=expected,
    canonical=canonical_alert,
    outputs=TOPICS,
    committed_only=True,
    contenders=(
        Contender(name="headrace run", command=headrace(pipeline)),
        Contender(name="headrace run, exactly once", command=headrace(in_transactions)),
        Contender(name="confluent-kafka, tuned", command=peer("confluent_fanout")),
        Contender(name="aiokafka, tuned", command=peer("aiokafka_fanout")),
    ),
)
