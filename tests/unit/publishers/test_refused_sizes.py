"""A topic that takes less than its configuration said, or than anybody let us read."""

import random
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from service import Event, PermanentError, handler
from service.handlers.context import HandlerContext
from service.state.keyed import KeyedState
from service.testing.harness import DEAD_LETTERS, OUTPUT, Harness, pipeline_of

LIMIT = 10_000


@handler("sizes.pass")
def passed(event: Event) -> dict[str, Any]:
    if event.data["n"] == 5:
        raise PermanentError("no")
    return {**event.data}


def values(sizes: Iterator[int] | list[int]) -> list[dict[str, Any]]:
    noise = random.Random(1)
    return [
        {"n": n, "text": b64encode(noise.randbytes(size)).decode()} for n, size in enumerate(sizes)
    ]


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_a_size_that_the_broker_alone_knows_of_stops_nothing(delivery: str) -> None:
    config = pipeline_of(passed)
    config["pipelines"]["test"]["delivery"] = delivery

    async with Harness(config) as service:
        for topic in (OUTPUT, DEAD_LETTERS):
            service.broker.topics[topic].max_message_bytes = LIMIT
        await service.send_all(values([100, 3000, 3000, 100_000, 5000, 100_000, 100]))
        await service.settle()

    assert [value["n"] for value in service.outputs()] == [0, 1, 2, 4, 6]
    letters = service.dead_letters()
    assert {letter.code for letter in letters} == {"too_large", "handler"}
    assert all(1_000 < len(letter.value or b"") < LIMIT for letter in letters)
    assert service.lag() == 0


async def test_a_limit_that_was_lowered_costs_a_few_producers_and_not_one_a_batch() -> None:
    async with Harness(pipeline_of(passed)) as service:
        await service.send_all(values([100]))
        await service.settle()
        service.broker.topics[OUTPUT].max_message_bytes = 5 * LIMIT
        for _ in range(10):
            await service.send_all({"n": n, "text": "x" * 500} for n in range(1000, 1400))
            await service.settle()
        made = len(service.brokers.producers)

    assert len(service.outputs()) == 4001
    assert made <= 5


@handler("sizes.kept", state=("texts",))
class Kept:
    """Keeps the text of each event under its number."""

    async def open(self, context: HandlerContext) -> None:
        self._texts: KeyedState = context.state("texts")

    def __call__(self, event: Event) -> None:
        self._texts.put(event, str(event.data["n"]), event.data["text"])


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_a_state_value_that_only_the_broker_knows_to_be_too_large_stops_nothing(
    delivery: str,
) -> None:
    config = pipeline_of(Kept)
    config["pipelines"]["test"]["delivery"] = delivery
    changelog = "test-test-handler-texts-changelog"

    async with Harness(config) as service:
        service.broker.topics[changelog].max_message_bytes = LIMIT
        await service.send_all(values([100, 3000, 3000, 100_000, 5000, 100_000, 100]))
        await service.settle()
        latest = {record.key: record.value for record in service.broker.records(changelog)}

    assert {key for key, value in latest.items() if value is not None} == {
        b"input/%d" % n for n in (0, 1, 2, 4, 6)
    }
