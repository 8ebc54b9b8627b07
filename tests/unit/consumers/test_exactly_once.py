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


@handler("takes_its_time")
async def takes_its_time(event: Event) -> dict[str, Any] | None:
    n = event.data["n"]
    if n % EVERY == 7 and event.attempts == 0:
        raise TransientError("the first attempt fails")
    await asyncio.sleep(0.02 * (crc32(b"%d" % n) % 100) / 100)
    return {"n": n} if n % 3 else None


async def started(broker: MemoryBroker) -> Harness:
    config = pipeline_of(takes_its_time, concurrency=16)
    config["pipelines"][next(iter(config["pipelines"]))]["delivery"] = "exactly_once"
    return await Harness(config, broker=broker, partitions=3).__aenter__()


@pytest.mark.parametrize("seed", range(6))
async def test_members_that_join_leave_and_die_make_every_result_visible_once(seed: int) -> None:
    rng = Random(seed)
    broker = MemoryBroker()
    running = [await started(broker)]
    await running[0].send_all({"n": n} for n in range(COUNT))

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
    for each in running:
        await each.kill()

    assert found == Counter(n for n in range(COUNT) if n % 3)
