"""Exactly once through kills, stops and rebalances, member by member, in virtual time."""

import asyncio
from collections import Counter
from random import Random
from typing import Any
from zlib import crc32

import pytest

from service import Event, TransientError, handler
from service.testing.broker import MemoryBroker
from service.testing.harness import Harness, pipeline_of

COUNT = 600
EVERY = 41
SLOW = 40


@handler("takes_its_time")
async def takes_its_time(event: Event) -> dict[str, Any] | None:
    n = event.data["n"]
    if n % EVERY == 7 and event.attempts == 0:
        raise TransientError("the first attempt fails")
    await asyncio.sleep(0.02 * (crc32(b"%d" % n) % 100) / 100)
    return {"n": n} if n % 3 else None


@handler("slow_at_first")
async def slow_at_first(event: Event) -> dict[str, Any]:
    if event.data["n"] < SLOW:
        await asyncio.sleep(5)
    return {"n": event.data["n"]}


async def started(
    broker: MemoryBroker, use: Any = takes_its_time, *, concurrency: int = 16, partitions: int = 3
) -> Harness:
    config = pipeline_of(use, concurrency=concurrency)
    config["pipelines"][next(iter(config["pipelines"]))]["delivery"] = "exactly_once"
    return await Harness(config, broker=broker, partitions=partitions).__aenter__()


async def send_keyed(service: Harness, count: int) -> None:
    """A key for each, since those of one key, or of none, would finish in order."""
    for n in range(count):
        await service.send({"n": n}, key=f"{n}")


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 11, 61])
async def test_members_that_join_leave_and_die_make_every_result_visible_once(seed: int) -> None:
    rng = Random(seed)
    broker = MemoryBroker()
    running = [await started(broker)]
    await send_keyed(running[0], COUNT)

    for _ in range(12):
        await running[0].advance(rng.uniform(0.0, 0.3))
        act = rng.random()
        if act < 0.35 and len(running) < 3:
            running.append(await started(broker))
        elif act < 0.75:
            await running.pop(rng.randrange(len(running))).kill()
        elif len(running) > 1:
            await running.pop(rng.randrange(len(running))).drain()
        running = running or [await started(broker)]
    await running[0].settle()
    found = Counter(output["n"] for output in running[0].outputs())
    letters = running[0].dead_letters()
    for each in running:
        await each.kill()

    # Who is killed often enough with a record running alone condemns it, innocent as it is.
    assert {letter.code for letter in letters} <= {"poison"}
    buried = Counter(int(letter.key or b"") for letter in letters)
    assert max(buried.values(), default=1) == 1
    assert found == Counter(n for n in range(COUNT) if n % 3 and n not in buried)


async def test_what_a_dead_owner_finished_survives_one_that_leaves_in_the_middle_of_it() -> None:
    """The second owner takes 64 suspects, leaves when they are done, and has seen no more."""
    broker = MemoryBroker()
    first = await started(broker, slow_at_first, concurrency=64, partitions=1)
    await send_keyed(first, 200)
    await first.advance(1)
    visible = len(first.outputs())
    await first.kill()

    second = await started(broker, slow_at_first, concurrency=64, partitions=1)
    await second.advance(1)
    await second.drain()
    left_at = second.committed()
    third = await started(broker, slow_at_first, concurrency=64, partitions=1)
    await third.settle()
    found = Counter(output["n"] for output in third.outputs())
    await third.kill()

    assert visible > 0
    assert left_at == {0: 64}
    assert found == Counter(range(200))


@handler("as_it_came")
def as_it_came(event: Event) -> dict[str, Any]:
    return {"n": event.data["n"]}


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_what_lies_before_the_batch_that_halts_a_partition_is_done(delivery: str) -> None:
    config = pipeline_of(as_it_came)
    config["pipelines"]["test"]["delivery"] = delivery
    config["pipelines"]["test"]["sources"]["kafka"]["undecodable"] = "halt"

    async with Harness(config) as service:
        await service.send_all([{"n": 0}, {"n": 1}, {"n": 2}, {"n": 3}])
        service.broker.corrupt("input", 0, 2)
        await service.advance(5)
        done, committed = service.outputs(), service.committed()

    assert done == [{"n": 0}, {"n": 1}]
    assert committed == {0: 2}
