"""Exactly once on a real broker: killed in the middle, fenced, and nothing is visible twice."""

import asyncio
import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.kafka.client import Kafka
from tests.service_process import ServiceProcess, log_pipeline, log_topics

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]


async def _setting(kafka: Kafka, total: int) -> dict[str, Any]:
    topics = await log_topics(kafka)
    await kafka.produce(
        topics["source"],
        [
            (
                b"key-%d" % (number % 300),
                orjson.dumps({"level": "ERROR" if number % 2 else "INFO", "message": str(number)}),
            )
            for number in range(total)
        ],
    )
    return topics


def _config(topics: dict[str, Any]) -> dict[str, Any]:
    return log_pipeline(
        **topics,
        pipeline={"delivery": "exactly_once"},
        kafka={
            "consumer": {"session_timeout_ms": 6_000, "heartbeat_interval_ms": 1_000},
        },
    )


async def _visible(kafka: Kafka, topic: str) -> int:
    return len(await kafka.consume(topic, read_committed=True))


async def _check(kafka: Kafka, topics: dict[str, Any], total: int) -> None:
    async with asyncio.timeout(90):
        while sum((await kafka.committed(topics["group"], topics["source"])).values()) < total:
            await asyncio.sleep(0.2)
    alerts = await kafka.consume(topics["output"], read_committed=True)
    ids = Counter(alert.header("headrace-id") for alert in alerts)
    assert len(ids) == total // 2
    assert max(ids.values()) == 1
    sequences: dict[bytes | None, list[int]] = {}
    for alert in alerts:
        message = int(orjson.loads(alert.value or b"")["message"])
        sequences.setdefault(alert.key, []).append(message)
    assert all(sequence == sorted(sequence) for sequence in sequences.values())


async def test_five_kills_in_the_middle_show_no_result_twice(
    kafka: Kafka, tmp_path: Path, ending: AsyncExitStack
) -> None:
    total = 40_000
    topics = await _setting(kafka, total)
    service = ServiceProcess(kafka.bootstrap, _config(topics), tmp_path)
    ending.push_async_callback(service.kill)

    for done in (1_000, 3_000, 5_000, 7_000, 9_000):
        await service.start()
        async with asyncio.timeout(60):
            while sum((await kafka.end_offsets(topics["output"])).values()) < done:
                await asyncio.sleep(0.01)
        service.signal(signal.SIGKILL)
        await service.wait()
    await service.start()
    await _check(kafka, topics, total)

    assert await service.terminate(15.0) == 0


async def test_a_stopped_owner_that_comes_back_is_fenced(
    kafka: Kafka, tmp_path: Path, ending: AsyncExitStack
) -> None:
    total = 30_000
    topics = await _setting(kafka, total)
    first = ServiceProcess(kafka.bootstrap, _config(topics), tmp_path, name="first")
    second = ServiceProcess(kafka.bootstrap, _config(topics), tmp_path, name="second")
    ending.push_async_callback(first.kill)
    ending.push_async_callback(second.kill)

    await first.start()
    async with asyncio.timeout(60):
        while sum((await kafka.end_offsets(topics["output"])).values()) < 500:
            await asyncio.sleep(0.01)
    first.signal(signal.SIGSTOP)
    await second.start()
    await second.wait_assigned(timeout_s=60)
    await asyncio.sleep(1.0)
    first.signal(signal.SIGCONT)
    await _check(kafka, topics, total)
    exits = [await first.terminate(20.0), await second.terminate(20.0)]

    assert exits == [0, 0]
