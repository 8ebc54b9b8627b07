"""A pipeline with `rolling_metrics` as a process of its own, on topics of its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness.cluster import Cluster
from tests.kafka.client import Kafka
from tests.service_process import ServiceProcess, log_pipeline

PARTITIONS = 4


class Running:
    """The running service and its topics."""

    def __init__(self, process: ServiceProcess, topics: dict[str, str], kafka: Kafka) -> None:
        self.process, self.topics, self.kafka = process, topics, kafka

    def changelog(self, state: str) -> str:
        """Its name."""
        return f"{self.topics['group']}-logs-alerts-{state}-changelog"

    async def committed(self, count: int, limit_s: float = 600.0) -> float:
        """Wait until so many inputs are committed; returns when they were."""
        deadline_s = time.monotonic() + limit_s
        while (
            sum((await self.kafka.committed(self.topics["group"], self.topics["source"])).values())
            < count
        ):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"not committed after {limit_s:g} s")
            await asyncio.sleep(0.1)
        return time.monotonic()


@asynccontextmanager
async def topics(cluster: Cluster) -> AsyncIterator[tuple[dict[str, str], Kafka]]:
    """New topics and a group, and what a test does to a broker."""
    async with Kafka(cluster.bootstrap) as kafka:
        made = {
            name: await kafka.create_topic(
                Kafka.unique(name), PARTITIONS, message_timestamp_type=stamped, retention_ms=-1
            )
            for name, stamped in (
                ("source", "CreateTime"),
                ("output", "LogAppendTime"),
                ("dead_letter", "CreateTime"),
            )
        }
        made["group"] = Kafka.unique("group")
        for state in ("windows", "time"):
            name = f"{made['group']}-logs-alerts-{state}-changelog"
            await kafka.create_topic(name, PARTITIONS, **{"cleanup.policy": "compact"})
        yield made, kafka


@asynccontextmanager
async def running(
    cluster: Cluster, directory: Path, made: dict[str, str], kafka: Kafka, **options: Any
) -> AsyncIterator[Running]:
    """The service, with these options of its handler; drained at the end."""
    config = log_pipeline(
        **made,
        pipeline={"normalizer": "json"},
        handler={"use": "rolling_metrics", "options": options},
    )
    async with ServiceProcess(cluster.bootstrap, config, directory) as process:
        await process.wait_logged("partition ready", count=PARTITIONS, timeout_s=120)
        yield Running(process, made, kafka)
        assert await process.terminate() == 0
