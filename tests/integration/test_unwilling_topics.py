"""Output topics that take nothing, in a cluster of which a broker is gone, beside one that is well.

One has lost its only replica and so its leader, one has fewer replicas than it needs.  A pipeline
that writes to neither goes on as if nothing were the matter.
"""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from tests.kafka.client import Kafka, Record
from tests.kafka.cluster import KafkaCluster, kafka_cluster
from tests.kafka.fixtures import need_apache
from tests.service_process import ServiceProcess

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(420)]

PARTITIONS = 2
KEYS = 20
PADDING = "x" * 4_000
MANY = 3_500
"""Records of an output that takes nothing: more than may wait for one topic."""
LOAD = 1_000
PLACES = {"leaderless": (3,), "lacking": (2, 3), "well": (1, 2, 3)}
"""Which brokers have the output of which pipeline; each needs two of them, if it has two."""
DELIVERIES = ("at_least_once", "exactly_once")
STUCK_S = 15.0
"""Longer than the service waits for an answer before it replaces its producer, if it doubts it."""
QUICK_METADATA = {"producer": {"metadata_max_age_ms": 5_000}}
"""As much quicker as the doubt: what a producer asks by itself shows that brokers answer it."""
WELL_WITHIN_S = 56.0
"""Longest wait for a load of the pipeline that is well."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    need_apache("can be ended")
    with kafka_cluster() as brokers:
        yield brokers


async def _create(bootstrap: str, topic: str, brokers: Sequence[int]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        places = {number: list(brokers) for number in range(PARTITIONS)}
        answer = await admin.create_topics([NewTopic(topic, -1, -1, replica_assignments=places)])
    finally:
        await admin.close()
    assert [error for _, error, *_ in answer.topic_errors] == [0]


async def _topics(cluster: KafkaCluster) -> dict[str, dict[str, str]]:
    """Of the pipeline that is well, and of two that are not for each delivery."""
    topics: dict[str, dict[str, str]] = {}
    for name, brokers in PLACES.items():
        for delivery in ("at_least_once",) if name == "well" else DELIVERIES:
            own = {kind: Kafka.unique(f"{name}-{kind}") for kind in ("in", "out", "dead", "group")}
            own["delivery"] = delivery
            await _create(cluster.bootstrap, own["in"], (1, 2, 3))
            await _create(cluster.bootstrap, own["dead"], (1, 2, 3))
            await _create(cluster.bootstrap, own["out"], brokers)
            topics[name if name == "well" else f"{name}-{delivery}"] = own
    return topics


def _config(topics: dict[str, dict[str, str]]) -> dict[str, Any]:
    return {
        "admin": {"port": 0},
        "server": {"port": 0},
        "kafka": QUICK_METADATA,
        "pipelines": {
            name: {
                "sources": {"kafka": {"topics": [own["in"]], "group_id": own["group"]}},
                "normalizer": "log",
                "delivery": own["delivery"],
                "dead_letter": own["dead"],
                "handlers": {"alerts": {"use": "log_alerts", "output": own["out"]}},
            }
            for name, own in topics.items()
        },
    }


async def _send(kafka: Kafka, topic: str, count: int) -> None:
    await kafka.produce(
        topic,
        [
            (
                b"key-%d" % (number % KEYS),
                orjson.dumps({"level": "ERROR", "message": f"{number} {PADDING}"}),
            )
            for number in range(count)
        ],
    )


async def _committed(kafka: Kafka, own: dict[str, str]) -> int:
    while True:
        try:
            offsets = await kafka.committed(own["group"], own["in"])
        except KafkaError:  # the test's own client asks a broker that is not there, or just back
            await asyncio.sleep(0.2)
        else:
            return sum(offset for offset in offsets.values() if offset > 0)


async def _until(kafka: Kafka, own: dict[str, str], total: int, within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s):
            while await _committed(kafka, own) < total:
                await asyncio.sleep(0.05)
    except TimeoutError:
        done = await _committed(kafka, own)
        raise AssertionError(f"{done} of {total} in {within_s} s") from None


async def _load(kafka: Kafka, own: dict[str, str], before: int) -> None:
    """Send a load through a pipeline that has done ``before``."""
    await _send(kafka, own["in"], LOAD)
    await _until(kafka, own, before + LOAD, WELL_WITHIN_S)


def _numbers(records: Sequence[Record]) -> set[int]:
    return {int(orjson.loads(record.value or b"")["message"].split()[0]) for record in records}


async def test_topics_that_take_nothing_stop_only_who_writes_to_them(
    cluster: KafkaCluster, tmp_path: Path
) -> None:
    topics = await _topics(cluster)
    well = topics.pop("well")
    config = _config({**topics, "well": well})
    gone = cluster.brokers[2]
    async with (
        Kafka(cluster.bootstrap) as kafka,
        ServiceProcess(
            cluster.bootstrap, config, tmp_path, program="tests.service_process.doubtful"
        ) as service,
    ):
        await service.wait_logged("partition ready", count=10, timeout_s=60.0)
        await asyncio.to_thread(gone.kill)
        for own in topics.values():
            await _send(kafka, own["in"], MANY)
        await _load(kafka, well, 0)
        await asyncio.sleep(STUCK_S)
        await _load(kafka, well, LOAD)
        stored = [await _committed(kafka, own) for own in topics.values()]
        failed = service.events("kafka producer failed")
        await asyncio.to_thread(gone.start)
        for own in topics.values():
            await _until(kafka, own, MANY, 120.0)
        alerts = [await kafka.consume(own["out"], read_committed=True) for own in topics.values()]
        code = await service.terminate()

    assert stored == [0, 0, 0, 0]
    assert failed == []
    for stored_alerts in alerts:
        assert _numbers(stored_alerts) == set(range(MANY))
    assert code == 0
