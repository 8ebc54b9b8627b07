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
PADDING = "x" * 400
MANY = 30_000
"""Records of an output that takes nothing: more than may wait for one topic."""
LOAD = 10_000
PLACES = {"leaderless": (3,), "lacking": (2, 3), "well": (1, 2, 3)}
"""Which brokers have the output of which pipeline; each needs two of them, if it has two."""
STUCK_S = 60.0
"""Longer than the service waits for an answer before it doubts its producer."""


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


async def _topics(cluster: KafkaCluster, delivery: str) -> dict[str, dict[str, str]]:
    topics: dict[str, dict[str, str]] = {}
    for name, brokers in PLACES.items():
        own = {kind: Kafka.unique(f"{name}-{kind}") for kind in ("in", "out", "dead", "group")}
        own["delivery"] = "at_least_once" if name == "well" else delivery
        await _create(cluster.bootstrap, own["in"], (1, 2, 3))
        await _create(cluster.bootstrap, own["dead"], (1, 2, 3))
        await _create(cluster.bootstrap, own["out"], brokers)
        topics[name] = own
    return topics


def _config(topics: dict[str, dict[str, str]]) -> dict[str, Any]:
    return {
        "admin": {"port": 0},
        "server": {"port": 0},
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


async def _time_s(kafka: Kafka, own: dict[str, str], before: int) -> float:
    """Send a load through a pipeline that has done ``before``; returns the seconds it took."""
    began_s = asyncio.get_running_loop().time()
    await _send(kafka, own["in"], LOAD)
    await _until(kafka, own, before + LOAD, 60.0)
    return asyncio.get_running_loop().time() - began_s


def _numbers(records: Sequence[Record]) -> set[int]:
    return {int(orjson.loads(record.value or b"")["message"].split()[0]) for record in records}


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_topics_that_take_nothing_stop_only_who_writes_to_them(
    cluster: KafkaCluster, tmp_path: Path, delivery: str
) -> None:
    topics = await _topics(cluster, delivery)
    well = topics.pop("well")
    config = _config({**topics, "well": well})
    gone = cluster.brokers[2]
    async with (
        Kafka(cluster.bootstrap) as kafka,
        ServiceProcess(cluster.bootstrap, config, tmp_path) as service,
    ):
        await service.wait_logged("partition ready", count=6, timeout_s=60.0)
        await asyncio.to_thread(gone.kill)
        usual_s = [await _time_s(kafka, well, done * LOAD) for done in range(2)]
        for own in topics.values():
            await _send(kafka, own["in"], MANY)
        await asyncio.sleep(5.0)
        beside_s = [await _time_s(kafka, well, done * LOAD) for done in range(2, 5)]
        await asyncio.sleep(STUCK_S)
        beside_s += [await _time_s(kafka, well, done * LOAD) for done in range(5, 7)]
        stored = [await _committed(kafka, own) for own in topics.values()]
        failed = service.events("kafka producer failed")
        await asyncio.to_thread(gone.start)
        for own in topics.values():
            await _until(kafka, own, MANY, 120.0)
        alerts = [await kafka.consume(own["out"], read_committed=True) for own in topics.values()]
        code = await service.terminate()

    print(f"\n{delivery}: usual {usual_s}, beside {beside_s}, failed {failed}")  # noqa: T201
    assert stored == [0, 0]
    assert failed == []
    assert max(beside_s) < 2 * usual_s[1] + 1.0
    for stored_alerts in alerts:
        assert _numbers(stored_alerts) == set(range(MANY))
    assert code == 0
