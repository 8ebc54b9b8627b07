"""Coroutine handlers whose calls mostly end at once, among others that wait, fail or hang."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from service import Event, PermanentError, TransientError, handler
from service.testing.harness import Harness

Headrace = Callable[..., Harness]

RETRY = {"attempts": 3, "initial_s": 0.2, "jitter": 0}
DOES = ("at once", "at once", "at once", "waits", "twice", "fails", "flaky", "cancelled", "hangs")


@handler("eager.mixed")
async def mixed(event: Event) -> Any:
    does = event.data["does"]
    match does:
        case "waits":
            await asyncio.sleep(0.1)
        case "twice":
            async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.sleep(0.1))
        case "fails":
            raise PermanentError("as asked")
        case "flaky" if event.attempts == 0:
            raise TransientError("the first attempt always fails")
        case "cancelled" if event.attempts == 0:
            raise asyncio.CancelledError
        case "hangs":
            await asyncio.Event().wait()
    return {"n": event.data["n"], "key": event.key_text}


@pytest.mark.parametrize("ordering", ["key", "partition", "none"])
@pytest.mark.parametrize("seed", range(8))
async def test_each_event_comes_out_once_and_in_the_order_of_its_key(
    headrace: Headrace, seed: int, ordering: str
) -> None:
    chance = random.Random(seed)
    limit = chance.choice([1, 3, 64])
    jobs = [(chance.choice("abcdef"), chance.choice(DOES)) for _ in range(60)]

    async with headrace(
        mixed, retry=RETRY, ordering=ordering, concurrency=limit, timeout_s=1
    ) as service:
        for n, (key, does) in enumerate(jobs):
            await service.send({"n": n, "does": does}, key=key)
            if chance.random() < 0.1:
                await asyncio.sleep(chance.choice([0, 0.05]))
        await service.settle()
        outputs, letters = service.outputs(), service.dead_letters()

    dead = {n for n, (_, does) in enumerate(jobs) if does in {"fails", "hangs"}}
    assert sorted(output["n"] for output in outputs) == sorted(set(range(len(jobs))) - dead)
    assert len(letters) == len(dead)
    assert {letter.code for letter in letters} <= {"handler", "timeout", "permanent"}
    if ordering != "none":
        order: defaultdict[str, list[int]] = defaultdict(list)
        for output in outputs:
            order[output["key"]].append(output["n"])
        assert all(numbers == sorted(numbers) for numbers in order.values())


async def test_calls_that_end_at_once_are_counted_as_the_others_are(headrace: Headrace) -> None:
    async with headrace(mixed, concurrency=4) as service:
        for n in range(50):
            await service.send({"n": n, "does": "at once" if n % 5 else "waits"}, key=str(n))
        await service.settle()
        (pipeline,) = service.application.pipelines.values()
        (handled,) = pipeline.counters.handlers.values()

    assert len(service.outputs()) == 50
    assert handled.handled == handled.durations.count == 50
    assert handled.durations.sum_s == pytest.approx(10 * 0.1)
