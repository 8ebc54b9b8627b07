"""A record that takes the whole process down, from the first crash to the dead-letter topic."""

import asyncio
from typing import Any

import pytest

from service import Event, handler
from service.testing.broker import MemoryBroker
from service.testing.harness import Harness, pipeline_of

POISON = 7


@handler("hangs_on_poison")
async def hangs_on_poison(event: Event) -> dict[str, Any]:
    if event.data["n"] == POISON:
        await asyncio.Event().wait()
    return {"n": event.data["n"]}


def service_on(broker: MemoryBroker) -> Harness:
    config = pipeline_of(hangs_on_poison, timeout_s=600, ordering="none")
    return Harness(config, broker=broker, partitions=2)


async def test_a_record_that_three_restarts_do_not_survive_goes_to_the_dead_letter_topic() -> None:
    broker = MemoryBroker()
    for life in range(1 + 3):
        async with service_on(broker) as service:
            if not life:
                await service.send_all({"n": n} for n in range(40))
            await service.advance(20.0)
            assert service.dead_letters() == []
            await service.kill()  # what the platform does to a process that hangs

    async with service_on(broker) as service:
        await service.settle()

    letters = service.dead_letters()
    assert [(letter.code, letter.value) for letter in letters] == [("poison", b'{"n":7}')]
    assert {output["n"] for output in service.outputs()} == set(range(40)) - {POISON}


@pytest.mark.parametrize("deaths", [2, 3, 6])
async def test_deaths_with_progress_between_them_condemn_nobody(deaths: int) -> None:
    broker = MemoryBroker()
    for life in range(deaths):
        async with service_on(broker) as service:
            if not life:
                await service.send_all({"n": n} for n in range(40) if n != POISON)
            await service.advance(0.05)  # less than the suspects need
            await service.kill()

    async with service_on(broker) as service:
        await service.settle()

    assert service.dead_letters() == []
    assert {output["n"] for output in service.outputs()} == set(range(40)) - {POISON}
