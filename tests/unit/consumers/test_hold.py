"""While nobody knows whose the partitions are, work waits; then it goes on, or is dropped."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from service import Event, handler
from service.testing.broker import MemoryBroker
from service.testing.harness import Harness, pipeline_of

CALL_S = 8.0
LEASE_S = 21.0
"""0.7 of the default session timeout."""


class Calls:
    """When each call began; the first may have to wait for its end."""

    def __init__(self) -> None:
        self.began: list[tuple[int, float]] = []
        self.first_may_end: asyncio.Event | None = None

    async def __call__(self, event: Event) -> dict[str, Any]:
        self.began.append((event.data["n"], asyncio.get_running_loop().time()))
        may_end, self.first_may_end = self.first_may_end, None
        await (asyncio.sleep(CALL_S) if may_end is None else may_end.wait())
        return {"key": event.key_text, "n": event.data["n"]}


calls = Calls()


@handler("noted_slow")
async def noted_slow(event: Event) -> dict[str, Any]:
    return await calls(event)


@handler("noted_at_once")
def noted_at_once(event: Event) -> dict[str, Any]:
    calls.began.append((event.data["n"], asyncio.get_running_loop().time()))
    return {"key": event.key_text, "n": event.data["n"]}


@pytest.fixture(autouse=True)
def fresh() -> None:
    calls.began.clear()
    calls.first_may_end = None


def by_key(service: Harness) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for output in service.outputs():
        found.setdefault(output["key"], []).append(output["n"])
    return found


async def send(service: Harness, numbers: range) -> None:
    for n in numbers:
        await service.send({"n": n}, key=b"%d" % (n % 3))


def in_order(count: int) -> dict[str, list[int]]:
    return {str(key): list(range(key, count, 3)) for key in range(3)}


@pytest.mark.parametrize(
    "away_s",
    [
        pytest.param(LEASE_S + 5, id="longer than the lease"),
        pytest.param(150.0, id="longer than a client lives without a broker"),
    ],
)
async def test_an_outage_repeats_nothing_and_nothing_begins_when_the_lease_is_over(
    away_s: float,
) -> None:
    async with Harness(pipeline_of(noted_slow, concurrency=2), partitions=2) as service:
        await send(service, range(30))
        await service.advance(2.5 * CALL_S)
        loop = asyncio.get_running_loop()

        service.broker.stop()
        gone_at_s = loop.time()
        await service.advance(away_s)
        back_at_s = loop.time()
        service.broker.start()
        await service.settle()

    assert by_key(service) == in_order(30)
    assert max(Counter(n for n, _ in calls.began).values()) == 1
    assert not [at for _, at in calls.began if gone_at_s + LEASE_S + 1 < at < back_at_s]
    assert [at for _, at in calls.began if gone_at_s < at < gone_at_s + LEASE_S]


async def test_plain_functions_wait_too_and_keep_their_order() -> None:
    async with Harness(pipeline_of(noted_at_once), partitions=1) as service:
        await send(service, range(3))
        await service.settle()
        (source,) = service.application.pipelines["test"].kafka_sources
        member = source._member

        service.broker.stop()
        await service.advance(LEASE_S + 1)
        assert not member.lease_valid()
        service.broker.start()
        await send(service, range(3, 12))
        await service.settle()

    assert by_key(service) == in_order(12)


async def test_a_partition_that_was_lost_and_comes_straight_back_repeats_nothing() -> None:
    broker = MemoryBroker()
    config = pipeline_of(noted_slow, concurrency=4)
    async with Harness(config, broker=broker) as service:
        await send(service, range(12))
        await service.advance(1.5 * CALL_S)
        (name,) = broker.groups

        broker.expire(name)
        await broker.group(name).rebalance()
        await service.settle()

    assert by_key(service) == in_order(12)
    assert max(Counter(n for n, _ in calls.began).values()) == 1


async def test_what_somebody_else_has_worked_on_meanwhile_is_dropped() -> None:
    broker = MemoryBroker()
    config = pipeline_of(noted_slow, concurrency=4, timeout_s=600)
    calls.first_may_end = may_end = asyncio.Event()  # busy while it is thought dead
    async with Harness(config, broker=broker) as service:
        await service.send({"n": 0}, key=b"0")
        await service.advance(1.0)
        (name,) = broker.groups
        group = broker.group(name)
        (frozen,) = group.members

        broker.expire(name)
        group.members.clear()
        async with Harness(config, broker=broker) as other:
            await other.settle()
        await group.join(frozen)
        may_end.set()
        await service.advance(60.0)
        await service.send({"n": 3}, key=b"0")
        await service.settle()

    assert by_key(service) == {"0": [0, 3]}
    assert [n for n, _ in calls.began] == [0, 0, 3]


async def test_the_service_drains_within_its_budget_while_work_waits() -> None:
    async with Harness(pipeline_of(noted_slow, concurrency=2), partitions=1) as service:
        await send(service, range(12))
        await service.advance(1.5 * CALL_S)
        service.broker.stop()
        await service.advance(LEASE_S + 5)
        began_s = asyncio.get_running_loop().time()

        report = await service.drain()

        took_s = asyncio.get_running_loop().time() - began_s
    assert not report.drained
    assert took_s <= service.settings.drain_timeout_s + 10
    assert report.abandoned
