"""An output topic that gets more partitions while the service runs."""

from typing import Any

import pytest

from service import Event, handler
from service.publishers.kafka_partitioner import Partitioner
from service.testing.broker import Log
from service.testing.harness import OUTPUT, Harness, pipeline_of


@handler("partitions.pass")
def passed(event: Event) -> dict[str, Any]:
    return {**event.data}


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_keys_go_where_every_other_client_looks_for_them(delivery: str) -> None:
    config = pipeline_of(passed)
    config["pipelines"]["test"]["delivery"] = delivery
    keys = [b"key-%d" % number for number in range(50)]

    async with Harness(config) as service:
        await service.send({"n": 0}, key="first")
        await service.settle()
        service.broker.topics[OUTPUT].logs.extend(Log() for _ in range(3))
        await service.advance(60)
        for key in keys:
            await service.send({"n": 1}, key=key.decode())
        await service.settle()

    found = {
        record.key: number
        for number, log in enumerate(service.broker.topics[OUTPUT].logs)
        for record in log.records
    }
    expected = {key: Partitioner().partition(key, 4) for key in keys}
    assert {key: found[key] for key in keys} == expected
