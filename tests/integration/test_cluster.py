"""The main job on a cluster of three brokers that go away one after the other.

Each broker leads a part of the partitions, and one of them each group and transaction, so all of
these move.  Two members share the work, at least once and exactly once.
"""

import asyncio
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from tests.kafka.client import Kafka, Record
from tests.kafka.cluster import KafkaCluster, kafka_cluster
from tests.kafka.fixtures import need_apache
from tests.kafka.load import SteadyLoad
from tests.kafka.server import KafkaServer
from tests.service_process import ServiceProcess, log_pipeline, user_environ

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(420)]

PARTITIONS = 6
RATE = 300
SETTLE_S = 3.0
AWAY_S = 4.0
"""Longer than the session of a broker that was killed, so that others take over."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    need_apache("can be ended")
    with kafka_cluster() as brokers:
        yield brokers


async def _restart(broker: KafkaServer) -> None:
    """As an upgrade of Kafka does: it hands over what it leads first."""
    await asyncio.to_thread(broker.restart)


async def _crash(broker: KafkaServer) -> None:
    await asyncio.to_thread(broker.kill)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(broker.start)


async def test_brokers_that_go_one_after_the_other_cost_nothing(
    cluster: KafkaCluster, tmp_path: Path
) -> None:
    source = Kafka.unique("source")
    topics = {
        delivery: (Kafka.unique("output"), Kafka.unique("dead"), Kafka.unique("group"))
        for delivery in ("at_least_once", "exactly_once")
    }
    config = _config(source, topics)
    await asyncio.to_thread(_create_topics, cluster, config, tmp_path)
    members = [
        ServiceProcess(cluster.bootstrap, config, tmp_path, name=f"member-{number}")
        for number in range(2)
    ]
    async with Kafka(cluster.bootstrap) as kafka:
        load = SteadyLoad(kafka, source, RATE)
        try:
            for member in members:
                await member.start()
            for member in members:
                await member.wait_assigned(count=len(topics))
            async with asyncio.TaskGroup() as tasks:
                loading = tasks.create_task(load.run())
                for broker, end in zip(cluster.brokers, (_restart, _crash, _crash), strict=True):
                    await asyncio.sleep(SETTLE_S)
                    await end(broker)
                await asyncio.sleep(SETTLE_S)
                load.stop()
                await loading
            for output, _, _ in topics.values():
                await kafka.consume(output, load.sent, timeout_s=60, read_committed=True)
            alive = [(await member.get("/livez"))[0] for member in members]
            exit_codes = [await member.terminate() for member in members]
            alerts, letters, committed = {}, {}, {}
            for delivery, (output, dead, group) in topics.items():
                alerts[delivery] = await kafka.consume(output, read_committed=True)
                letters[delivery] = await kafka.consume(dead, read_committed=True)
                committed[delivery] = sum((await kafka.committed(group, source)).values())
        finally:
            for member in members:
                await member.kill()

    for delivery in topics:
        times = Counter(map(_number, alerts[delivery]))
        print(  # noqa: T201 -- the figures of record
            f"\n{delivery}: {load.sent} records, {load.sent - len(times)} lost, "
            f"{len(alerts[delivery]) - len(times)} repeated"
        )
        assert times.keys() == set(range(load.sent))
        if delivery == "exactly_once":
            assert max(times.values()) == 1
        assert _out_of_order(alerts[delivery]) == []
        assert letters[delivery] == []
        assert committed[delivery] == load.sent
    assert alive == [200, 200]
    assert exit_codes == [0, 0]


def _config(source: str, topics: Mapping[str, tuple[str, str, str]]) -> dict[str, Any]:
    """A pipeline for each delivery, of the same input."""
    # shorter than the default, so that a member that Kafka lost is not waited for
    config: dict[str, Any] = {"kafka": {"consumer": {"session_timeout_ms": 10_000}}}
    pipelines: dict[str, Any] = {}
    for delivery, (output, dead, group) in topics.items():
        one = log_pipeline(
            source=source,
            output=output,
            dead_letter=dead,
            group=group,
            pipeline={"delivery": delivery},
        )
        pipelines[delivery] = one["pipelines"]["logs"]
        config = {**one, **config}
    return {**config, "pipelines": pipelines}


def _create_topics(cluster: KafkaCluster, config: dict[str, Any], directory: Path) -> None:
    """With our own command, which gives them three replicas."""
    file = directory / "topics.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    subprocess.run(  # noqa: S603 -- ourselves
        [
            *(sys.executable, "-m", "service", "topics", "--create"),
            *("--partitions", str(PARTITIONS), "--config", str(file)),
        ],
        env={**user_environ(), "HEADRACE_KAFKA__BOOTSTRAP_SERVERS": cluster.bootstrap},
        timeout=60,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _number(alert: Record) -> int:
    return int(orjson.loads(alert.value or b"")["message"])


def _out_of_order(alerts: list[Record]) -> list[bytes | None]:
    """Keys whose alerts came for the first time in another order than they went in."""
    by_key: dict[bytes | None, list[int]] = defaultdict(list)
    for alert in alerts:
        by_key[alert.key].append(_number(alert))
    return [
        key for key, numbers in by_key.items() if list(dict.fromkeys(numbers)) != sorted({*numbers})
    ]
