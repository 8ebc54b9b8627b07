"""What a revoke holds back is not overtaken by what arrives while it waits."""

import asyncio
from typing import Any

from service import Event, handler
from service.testing.broker import MemoryBroker
from service.testing.harness import Harness, pipeline_of

SLOW_S = 2.0


@handler("slow_per_key")
async def slow_per_key(event: Event) -> dict[str, Any]:
    await asyncio.sleep(SLOW_S if event.key == b"slow" else 0.0)
    return {"key": event.key_text, "n": event.data["n"]}


async def test_records_that_arrive_while_a_revoke_waits_do_not_overtake_their_key() -> None:
    broker = MemoryBroker()
    config = pipeline_of(slow_per_key, concurrency=2, timeout_s=600)
    async with Harness(config, broker=broker, partitions=1) as service:
        await service.send({"n": 0}, key=b"slow")
        for n in range(1, 10):
            await service.send({"n": n}, key=b"slow" if n < 3 else b"quick")
        await service.advance(SLOW_S / 4)
        # the second slow one waits in the lane of the first, the others behind it
        (group,) = broker.groups.values()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(group.rebalance())
            await service.advance(SLOW_S / 4)
            for n in range(10, 20):
                await service.send({"n": n}, key=b"slow" if n < 13 else b"quick")
        await service.settle()

        found: dict[str, list[int]] = {}
        for output in service.outputs():
            found.setdefault(output["key"], []).append(output["n"])
    assert found == {
        "slow": [0, 1, 2, 10, 11, 12],
        "quick": [*range(3, 10), *range(13, 20)],
    }
