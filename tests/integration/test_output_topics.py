"""Output topics that go, come back smaller, or take nothing, while the service is under load.

Two pipelines in one process: what happens to the output of one must not stop the other.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.publishers.kafka_partitioner import Partitioner
from tests.kafka.client import Kafka, Record
from tests.kafka.fixtures import need_apache
from tests.service_process import ServiceProcess

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

KEYS = 40
PARTITIONS = 4
PADDING = "x" * 400


def _records(numbers: Iterable[int]) -> list[tuple[bytes, bytes]]:
    return [
        (
            b"key-%d" % (number % KEYS),
            orjson.dumps({"level": "ERROR", "message": f"{number} {PADDING}"}),
        )
        for number in numbers
    ]


def _number(record: Record) -> int:
    return int(orjson.loads(record.value or b"")["message"].split()[0])


def _pipeline(topics: dict[str, str], delivery: str) -> dict[str, Any]:
    return {
        "sources": {"kafka": {"topics": [topics["in"]], "group_id": topics["group"]}},
        "normalizer": "log",
        "delivery": delivery,
        "dead_letter": topics["dead"],
        "handlers": {"alerts": {"use": "log_alerts", "output": topics["out"]}},
    }


class Setting:
    """A service with a pipeline whose output is in trouble, and one that is well."""

    def __init__(self, kafka: Kafka, service: ServiceProcess, ill: Any, well: Any) -> None:
        self.kafka = kafka
        self.service = service
        self.ill: dict[str, str] = ill
        self.well: dict[str, str] = well
        self.sent: Counter[str] = Counter()

    async def send(self, topics: dict[str, str], count: int) -> range:
        """Write ``count`` more records of a pipeline's input; returns their numbers."""
        first = self.sent[topics["in"]]
        self.sent[topics["in"]] += count
        numbers = range(first, first + count)
        await self.kafka.produce(topics["in"], _records(numbers))
        return numbers

    async def finished(self, topics: dict[str, str], within_s: float) -> float:
        """Wait until all that was sent is committed; returns the seconds."""
        began_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(within_s):
                while await self.committed(topics) < self.sent[topics["in"]]:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            done = await self.committed(topics)
            raise AssertionError(f"{done} of {self.sent[topics['in']]}") from None
        return asyncio.get_running_loop().time() - began_s

    async def committed(self, topics: dict[str, str]) -> int:
        offsets = await self.kafka.committed(topics["group"], topics["in"])
        return sum(offset for offset in offsets.values() if offset > 0)


@asynccontextmanager
async def _setting(kafka: Kafka, directory: Path, delivery: str) -> AsyncIterator[Setting]:
    pipelines: list[dict[str, str]] = []
    for name in ("ill", "well"):
        topics = {kind: kafka.unique(f"{name}-{kind}") for kind in ("in", "out", "dead", "group")}
        await kafka.create_topic(topics["in"], 2)
        await kafka.create_topic(topics["out"], PARTITIONS)
        await kafka.create_topic(topics["dead"], 1)
        pipelines.append(topics)
    ill, well = pipelines
    config = {
        "admin": {"port": 0},
        "server": {"port": 0},
        "pipelines": {"ill": _pipeline(ill, delivery), "well": _pipeline(well, "at_least_once")},
    }
    async with ServiceProcess(kafka.bootstrap, config, directory) as service:
        await service.wait_logged("partition ready", count=4)
        yield Setting(kafka, service, ill, well)


@asynccontextmanager
async def _load(setting: Setting) -> AsyncIterator[None]:
    """Some hundred records a second for both pipelines."""

    async def feed() -> None:
        while True:
            await setting.send(setting.ill, 40)
            await setting.send(setting.well, 40)
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as tasks:
        feeding = tasks.create_task(feed())
        try:
            yield
        finally:
            feeding.cancel()


def _check(alerts: list[Record], numbers: Iterable[int], partitions: int) -> None:
    """All of ``numbers`` are there, per key in order, where every Kafka client looks for it.

    With more partitions than before, what was on its way still goes where it belonged.
    """
    found = Counter(map(_number, alerts))
    assert not [number for number in numbers if number not in found]
    if partitions > PARTITIONS:
        return
    orders: dict[bytes | None, list[int]] = {}
    for alert in alerts:
        assert alert.partition == Partitioner().partition(alert.key or b"", partitions)
        orders.setdefault(alert.key, []).append(_number(alert))
    for order in orders.values():
        firsts = list(dict.fromkeys(order))
        assert firsts == sorted(firsts)


@pytest.fixture(autouse=True)
def _apache() -> None:
    need_apache("deletes topics and refuses records as one does")


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("partitions", [2, 4, 6])
async def test_an_output_topic_that_is_deleted_and_made_again_is_written_again(
    kafka: Kafka, tmp_path: Path, delivery: str, partitions: int
) -> None:
    async with _setting(kafka, tmp_path, delivery) as setting:
        output = setting.ill["out"]
        async with _load(setting):
            await asyncio.sleep(2.0)
            await kafka.delete_topic(output)
            first = setting.sent[setting.ill["in"]]
            before = await setting.committed(setting.well)
            await asyncio.sleep(5.0)
            during = await setting.committed(setting.well)
            await kafka.create_topic(output, partitions)
            await asyncio.sleep(2.0)
        await setting.finished(setting.well, within_s=10.0)
        await setting.finished(setting.ill, within_s=90.0)
        alerts = await kafka.consume(output, read_committed=True)
        code = await setting.service.terminate()

    numbers = range(first, setting.sent[setting.ill["in"]])
    _check([alert for alert in alerts if _number(alert) in numbers], numbers, partitions)
    if delivery == "exactly_once":
        assert max(Counter(map(_number, alerts)).values()) == 1
    assert during > before + 1_000
    assert code == 0
