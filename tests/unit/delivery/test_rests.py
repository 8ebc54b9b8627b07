"""A transaction that fails again and again leaves the process time for everything else."""

import asyncio
from typing import Any

from service import Event, handler
from service.consumers.base import TopicPartition
from service.consumers.kafka_committer import REST_FIRST_S, REST_MAX_S
from service.delivery.rests import Rests
from service.testing.harness import OUTPUT, Harness, pipeline_of

OURS = TopicPartition("in", 0)


@handler("patience.pass")
def passed(event: Event) -> dict[str, Any]:
    return {**event.data}


def test_each_rest_is_longer_and_the_first_again_when_it_has_worked() -> None:
    rests = Rests[TopicPartition](REST_FIRST_S, REST_MAX_S)
    lengths_s: list[float] = []

    now_s = 0.0
    for _ in range(8):
        rests.failed(OURS, now_s)
        rests.failed(OURS, now_s)  # what was under way at the time
        lengths_s.append(
            next(at / 10 for at in range(100) if not rests.resting(OURS, now_s + at / 10 + 1e-9))
        )
        now_s += 100.0
    rests.worked(OURS)
    worked = rests.resting(OURS, now_s)
    rests.failed(OURS, now_s)

    assert lengths_s == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, REST_MAX_S, REST_MAX_S]
    assert not worked
    assert not rests.resting(OURS, now_s + REST_FIRST_S)
    assert not rests.resting(TopicPartition("in", 1), now_s)


async def test_a_transaction_that_fails_again_and_again_is_begun_ever_more_rarely() -> None:
    config = pipeline_of(passed)
    config["pipelines"]["test"]["delivery"] = "exactly_once"
    async with Harness(config, partitions=2) as service:
        topic = service.broker.topics.pop(OUTPUT)
        before = len(service.brokers.producers)
        for number in range(20):
            await service.send({"n": number}, key=f"key-{number}")
        await service.advance(60)
        tried = len(service.brokers.producers) - before
        service.broker.topics[OUTPUT] = topic
        at_s = asyncio.get_running_loop().time()
        await service.settle()
        took_s = asyncio.get_running_loop().time() - at_s

    assert tried <= 2 * (6 + 60 / REST_MAX_S)
    assert took_s < REST_MAX_S + 1.0
    assert sorted(value["n"] for value in service.outputs()) == [*range(20)]
