"""What one fetch brings of several partitions: worked on together if it is small, never refused."""

from collections.abc import Sequence
from typing import Any

import pytest

from service import Event, handler
from service.dispatch.dispatcher import Dispatcher
from service.events import CHUNK_BYTES, CHUNK_RECORDS, EventBatch
from service.testing.harness import Harness, pipeline_of

PARTITIONS = 4


@handler("small_answers.pass")
def passed(event: Event) -> dict[str, Any]:
    return {"n": event.data["n"]}


@pytest.mark.parametrize(
    ("records", "size_bytes", "most"),
    [
        pytest.param(1, 1, PARTITIONS, id="small"),
        pytest.param(CHUNK_RECORDS // 2, 1, 2, id="half a chunk"),
        pytest.param(CHUNK_RECORDS, 1, 1, id="a chunk"),
        pytest.param(1, CHUNK_BYTES // 2 - 1000, 2, id="half a chunk of bytes"),
        pytest.param(2, CHUNK_BYTES // 2 - 1000, 1, id="a chunk of bytes"),
    ],
)
async def test_small_batches_of_several_partitions_go_together(
    records: int, size_bytes: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    handle = Dispatcher.handle

    def look(self: Dispatcher, batches: Sequence[EventBatch]) -> list[Any]:
        together.append(len(batches))
        return handle(self, batches)

    monkeypatch.setattr(Dispatcher, "handle", look)
    async with Harness(pipeline_of(passed), partitions=PARTITIONS) as service:
        for partition in range(PARTITIONS):
            for number in range(records):
                value = {"n": number, "text": "x" * size_bytes}
                await service.send(value, partition=partition)
        await service.settle()

    assert max(together) == most
    assert sum(together) >= PARTITIONS
    assert len(service.outputs()) == PARTITIONS * records


async def test_kafka_waits_for_room_where_others_are_refused() -> None:
    config = pipeline_of(passed)
    config["pipelines"]["test"]["channel"] = {"capacity": 1, "overflow": "reject"}
    async with Harness(config, partitions=PARTITIONS) as service:
        for number in range(40):
            await service.send({"n": number}, partition=number % PARTITIONS)
        await service.settle()
        counters = service.application.pipelines["test"].counters

    assert sorted(value["n"] for value in service.outputs()) == [*range(40)]
    assert counters.rebalances == 1
