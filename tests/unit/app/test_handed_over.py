"""Several handlers, each in its own time, through drains and rebalances that tell what is done."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service import Event, TransientError, handler
from service.testing.broker import MemoryBroker
from service.testing.harness import Harness, pipeline_of
from service.testing.virtual_time import run

NAMES = ("quick", "slow", "slower")


def _answer(event: Event, by: str) -> dict[str, Any]:
    if by in event.data["fails"] and event.attempts == 0:
        raise TransientError("not yet")
    return {"n": event.data["n"], "by": by}


@handler("handed_over_quick")
def quick(event: Event) -> dict[str, Any] | None:
    """At once; half of it needs no result."""
    answer = _answer(event, "quick")
    return answer if event.data["n"] % 2 else None


@handler("handed_over_slow")
async def slow(event: Event) -> dict[str, Any]:
    """Takes as long as the event says."""
    await asyncio.sleep(event.data["takes_s"])
    return _answer(event, "slow")


@handler("handed_over_slower")
async def slower(event: Event) -> dict[str, Any]:
    """Takes three times as long."""
    await asyncio.sleep(3 * event.data["takes_s"])
    return _answer(event, "slower")


def config_of(delivery: str, concurrency: int) -> dict[str, Any]:
    config = pipeline_of(slow, concurrency=concurrency, retry={"initial_s": 0.5, "jitter": 0})
    ((name, pipeline),) = config["pipelines"].items()
    ((_, settings_of_slow),) = pipeline["handlers"].items()
    handlers = {each: {**settings_of_slow, "use": f"{__name__}:{each}"} for each in NAMES}
    handlers["slower"]["where"] = {"field": "n", "gte": 5}
    pipeline = {**pipeline, "delivery": delivery, "handlers": handlers}
    return {**config, "pipelines": {name: pipeline}}


@dataclass(frozen=True)
class Sent:
    key: str
    takes_s: float
    fails: tuple[str, ...]


sent = st.builds(
    Sent,
    key=st.sampled_from("abcdef"),
    takes_s=st.sampled_from([0.0, 0.1, 1.0]),
    fails=st.sampled_from([(), (), (), ("quick",), ("slow",), ("slow", "slower")]),
)
life = st.tuples(st.lists(sent, max_size=25), st.sampled_from([0.0, 0.3, 2.0]), st.booleans())


@settings(max_examples=40, deadline=None)
@given(
    lives=st.lists(life, min_size=1, max_size=4),
    delivery=st.sampled_from(["at_least_once", "exactly_once"]),
    concurrency=st.integers(1, 3),
)
def test_every_handler_does_everything_once_and_in_order(
    lives: list[tuple[list[Sent], float, bool]], delivery: str, concurrency: int
) -> None:
    run(_check(lives, config_of(delivery, concurrency)))


async def _check(lives: list[tuple[list[Sent], float, bool]], config: dict[str, Any]) -> None:
    broker = MemoryBroker()
    keys: list[str] = []
    for events, runs_s, rebalances in lives:
        async with Harness(config, broker=broker) as service:
            for each in events:
                data = {"n": len(keys), "takes_s": each.takes_s, "fails": each.fails}
                keys.append(each.key)
                await service.send(data, key=each.key)
            await service.advance(runs_s)
            if rebalances:
                (group,) = broker.groups.values()
                await group.rebalance()
                await service.advance(runs_s)
            report = await service.drain()
            assert report.took_s < 15
    async with Harness(config, broker=broker) as service:
        await service.settle()
        told = [(output["by"], output["n"]) for output in service.outputs()]
        assert not service.dead_letters()

    expected = [("quick", n) for n in range(len(keys)) if n % 2]
    expected += [("slow", n) for n in range(len(keys))]
    expected += [("slower", n) for n in range(5, len(keys))]
    assert Counter(told) == dict.fromkeys(expected, 1)
    for name in NAMES:
        for key in set(keys):
            order = [n for by, n in told if by == name and keys[n] == key]
            assert order == sorted(order)
