"""Two pipelines chained in one process on a real broker: one acknowledgement across both."""

import asyncio
import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.kafka.client import Kafka, Record
from tests.service_process import ServiceProcess

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]

TOTAL, KEYS, PARTITIONS = 40_000, 200, 4
BAD = 7
"""What the second pipeline does not like: messages that end in it."""


async def _configuration(kafka: Kafka) -> tuple[dict[str, str], dict[str, Any]]:
    names = {name: kafka.unique(name) for name in ("in", "out", "dead-front", "dead-back")}
    for topic in names.values():
        await kafka.create_topic(topic, PARTITIONS)
    names["group"] = kafka.unique("group")
    kafka_source = {"kafka": {"topics": [names["in"]], "group_id": names["group"]}}
    schema = {"properties": {"message": {"not": {"pattern": f"{BAD}$"}}}}
    return names, {
        "admin": {"port": 0},
        "server": {"port": 0},
        "subscriptions": {"topics": []},
        # so long does each life wait for the partitions of the one that was killed
        "kafka": {"consumer": {"session_timeout_ms": 6_000, "heartbeat_interval_ms": 1_000}},
        "pipelines": {
            "front": {
                "sources": kafka_source,
                "normalizer": "log",
                "dead_letter": names["dead-front"],
                "handlers": {"alerts": {"use": "log_alerts"}},
            },
            "back": {
                "sources": {"pipeline": {"name": "front"}},
                "channel": {"capacity": 2000},
                "dead_letter": names["dead-back"],
                "handlers": {
                    "check": {
                        "use": "validate",
                        "options": {"schema": schema},
                        "output": names["out"],
                    }
                },
            },
        },
    }


async def _produce(kafka: Kafka, topic: str) -> None:
    await kafka.produce(
        topic,
        [
            (b"key-%d" % (n % KEYS), orjson.dumps({"level": "ERROR", "message": str(n)}))
            for n in range(TOTAL)
        ],
    )


async def _stored(kafka: Kafka, names: dict[str, str], count: int) -> None:
    async with asyncio.timeout(60):
        while sum((await kafka.end_offsets(names["out"])).values()) < count:
            await asyncio.sleep(0.01)


async def _all_committed(kafka: Kafka, names: dict[str, str]) -> None:
    async with asyncio.timeout(120):
        while sum((await kafka.committed(names["group"], names["in"])).values()) < TOTAL:
            await asyncio.sleep(0.1)


def _first_of_each(records: list[Record]) -> list[Record]:
    """The records without those whose id came before."""
    return list({record.header("headrace-id"): record for record in reversed(records)}.values())[
        ::-1
    ]


def _check(records: list[Record], letters: list[Record]) -> None:
    """Complete, in order per key, and what failed is the original with its place."""
    by_key: dict[bytes | None, list[int]] = {}
    for record in _first_of_each(records):
        by_key.setdefault(record.key, []).append(int(orjson.loads(record.value or b"")["message"]))
    assert sorted(n for numbers in by_key.values() for n in numbers) == [
        n for n in range(TOTAL) if n % 10 != BAD
    ]
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    origins = {letter.header("headrace-origin"): letter for letter in letters}
    assert {orjson.loads(letter.value or b"")["message"] for letter in origins.values()} == {
        str(n) for n in range(TOTAL) if n % 10 == BAD
    }
    assert len(origins) == TOTAL // 10


async def test_sigterm_in_the_middle_of_a_chain_loses_nothing_and_repeats_nothing(
    kafka: Kafka, tmp_path: Path, ending: AsyncExitStack
) -> None:
    names, configuration = await _configuration(kafka)
    await _produce(kafka, names["in"])
    service = ServiceProcess(kafka.bootstrap, configuration, tmp_path)

    ending.push_async_callback(service.kill)
    await service.start()
    await _stored(kafka, names, 2_000)
    first_exit = await service.terminate(20.0)
    after_first = sum((await kafka.end_offsets(names["out"])).values())
    await service.start()
    await _all_committed(kafka, names)
    second_exit = await service.terminate(20.0)

    records, letters = await kafka.consume(names["out"]), await kafka.consume(names["dead-back"])
    assert (first_exit, second_exit) == (0, 0)
    assert after_first < TOTAL * 9 // 10  # it was in the middle
    assert max(Counter(record.header("headrace-id") for record in records).values()) == 1
    assert len(letters) == TOTAL // 10
    assert await kafka.consume(names["dead-front"]) == []
    _check(records, letters)


async def test_kill_9_in_the_middle_of_a_chain_loses_nothing_and_repeats_under_the_same_ids(
    kafka: Kafka, tmp_path: Path, ending: AsyncExitStack
) -> None:
    names, configuration = await _configuration(kafka)
    await _produce(kafka, names["in"])
    service = ServiceProcess(kafka.bootstrap, configuration, tmp_path)

    ending.push_async_callback(service.kill)
    for stored in (1_500, 6_000):
        await service.start()
        await _stored(kafka, names, stored)
        service.signal(signal.SIGKILL)
        await service.wait()
    in_the_middle = sum((await kafka.end_offsets(names["out"])).values())
    await service.start()
    await _all_committed(kafka, names)
    last_exit = await service.terminate(20.0)

    assert last_exit == 0
    assert in_the_middle < TOTAL * 9 // 10
    _check(await kafka.consume(names["out"]), await kafka.consume(names["dead-back"]))
