"""The work of the fan-out job for hand-written loops: one event in, (topic, value) pairs out."""

from collections.abc import Iterator

import orjson

from benchmarks.jobs.log_events import ROUTES, is_audited
from benchmarks.peers.alerts import alert_of

_TOPICS = ("alerts", "audit", "info", "warn", "error")
_PLACES = {level: _TOPICS.index(topic) for level, topic in ROUTES.items()}


def results_of(value: bytes) -> Iterator[tuple[int, bytes]]:
    """The results of one event, each with the number of its topic."""
    event = orjson.loads(value)
    alert = alert_of(event)
    if alert is not None:
        yield 0, orjson.dumps(alert)
    message = event["message"]
    if is_audited(message):
        yield 1, orjson.dumps({"audited": message})
    yield _PLACES[event["level"]], orjson.dumps({"routed": message})
