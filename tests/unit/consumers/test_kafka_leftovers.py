"""A client that is replaced, and an outage that it outlives, leave nothing behind."""

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from service import Event, handler
from service.testing.broker import MemoryBroker
from service.testing.harness import Harness, pipeline_of

OUTAGE_S = 25.0
"""Longer than the lease, and shorter than a client may be without a broker."""


class Knot:
    """Refers to itself, as the Kafka client does in many places."""

    def __init__(self) -> None:
        self.own = self


@handler("unknotted")
async def unknotted(event: Event) -> dict[str, Any]:
    return {"n": event.data["n"]}


@pytest.fixture
def rarely_collected() -> Iterator[None]:
    """The collector does not look by itself, as good as in the service."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("rarely_collected")
async def test_what_a_replaced_client_leaves_in_cycles_is_collected() -> None:
    async with Harness(pipeline_of(unknotted), partitions=1) as service:
        await service.settle()
        knot = weakref.ref(Knot())
        before = knot() is not None
        service.brokers.consumers[-1].fail("broken")
        await service.advance(30.0)
        collected = knot() is None
        await service.send({"n": 1})
        await service.settle()
        outputs = service.outputs()

    assert (before, collected) == (True, True)
    assert outputs == [{"n": 1}]


@pytest.mark.usefixtures("rarely_collected")
async def test_what_an_outage_leaves_in_cycles_is_collected_when_the_group_hears_us_again() -> None:
    broker = MemoryBroker()
    async with Harness(pipeline_of(unknotted), broker=broker, partitions=1) as service:
        await service.settle()
        broker.stop()
        await service.advance(OUTAGE_S)
        knot = weakref.ref(Knot())
        during = knot() is not None
        broker.start()
        await service.advance(5.0)
        clients = len(service.brokers.consumers)
        collected = knot() is None

    assert clients == 1
    assert (during, collected) == (True, True)
