"""A pipeline of windows on a real broker, what is sent to it, and what its figures must be."""

import asyncio
import itertools
import random
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from tests.kafka.client import Kafka, Record
from tests.service_process import log_pipeline

PARTITIONS = 3
SIZE_MS = 10_000
START_MS = 1_700_000_000_000

WindowId = tuple[str, int]
"""Key and start."""


def config(topics: dict[str, str], delivery: str = "exactly_once") -> dict[str, Any]:
    """One pipeline that closes windows by event time alone."""
    return log_pipeline(
        **topics,
        pipeline={"delivery": delivery, "normalizer": "json"},
        handler={
            "use": "rolling_metrics",
            "options": {"time": "t", "size_s": SIZE_MS / 1000, "lateness_s": 2, "idle_s": 1000},
        },
        kafka={"consumer": {"session_timeout_ms": 6_000, "heartbeat_interval_ms": 1_000}},
    )


async def make_topics(kafka: Kafka) -> dict[str, str]:
    """Topics and group of the pipeline, its changelogs among them."""
    topics = {
        "source": kafka.unique("values"),
        "output": kafka.unique("figures"),
        "dead_letter": kafka.unique("dead"),
    }
    for topic in topics.values():
        await kafka.create_topic(topic, PARTITIONS)
    topics["group"] = kafka.unique("group")
    for state in ("windows", "time"):
        name = f"{topics['group']}-logs-alerts-{state}-changelog"
        await kafka.create_topic(name, PARTITIONS, **{"cleanup.policy": "compact"})
    return topics


def endless_values() -> Iterator[tuple[bytes, bytes]]:
    """Values of 50 keys, one each 10 ms of event time, up to 1.5 s out of order."""
    rng = random.Random(7)
    for n in itertools.count():
        key = b"key-%d" % rng.randrange(50)
        at_ms = START_MS + n * 10 - rng.randrange(1_500)
        yield key, orjson.dumps({"t": at_ms, "value": rng.gauss(9, 3)})


def values(count: int) -> list[tuple[bytes, bytes]]:
    """The first of :func:`endless_values`."""
    return list(itertools.islice(endless_values(), count))


def closing(count: int) -> list[tuple[bytes, bytes]]:
    """What closes every window of :func:`values` in every partition."""
    last = orjson.dumps({"t": START_MS + count * 10 + 60_000, "value": 0.0})
    return [(b"closing-%d" % n, last) for n in range(60)]


def by_window(events: Iterable[tuple[bytes | None, bytes | None]]) -> dict[WindowId, list[float]]:
    """The values of each window, by the definition."""
    windows: defaultdict[WindowId, list[float]] = defaultdict(list)
    for key, value in events:
        data = orjson.loads(value or b"")
        windows[(key or b"").decode(), data["t"] // SIZE_MS * SIZE_MS].append(data["value"])
    return windows


async def figures(kafka: Kafka, topic: str) -> list[dict[str, Any]]:
    """What was published, without the windows of :func:`closing`."""
    records = await kafka.consume(topic, read_committed=True)
    found = [orjson.loads(record.value or b"") for record in records]
    return [figure for figure in found if not figure["key"].startswith("closing")]


def wrong(figure: dict[str, Any], expected: list[float]) -> bool:
    """Whether a figure is not that of the values."""
    exact = sorted(expected)[(len(expected) - 1) // 2]
    return bool(
        figure["count"] != len(expected)
        or figure["max"] != max(expected)
        or abs(figure["mean"] - statistics.fmean(expected)) > 1e-9 * abs(figure["mean"])
        or abs(figure["p50"] - exact) > 0.0101 * abs(exact)
    )


async def committed(kafka: Kafka, topics: dict[str, str], count: int) -> None:
    """Wait until ``count`` records of the source are committed."""
    async with asyncio.timeout(120):
        while sum((await kafka.committed(topics["group"], topics["source"])).values()) < count:
            await asyncio.sleep(0.2)


async def source_records(kafka: Kafka, topics: dict[str, str]) -> list[Record]:
    """Every record of the source, with its place."""
    return await kafka.consume(topics["source"])
