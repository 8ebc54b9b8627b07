"""Several handlers, each in its own time, through drains and rebalances that tell what is done."""

import asyncio
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service import Event, TransientError, handler
from service.handlers import HandlerContext
from service.testing.broker import MemoryBroker
from service.testing.harness import Harness, pipeline_of
from service.testing.virtual_time import run

NAMES = ("quick", "slow", "slower", "batched", "counting")


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


@handler("handed_over_batched", batch=5, linger_s=0.01)
async def batched(events: list[Event]) -> list[dict[str, Any] | Exception]:
    """As long as the longest of them."""
    await asyncio.sleep(max(event.data["takes_s"] for event in events))
    answers: list[dict[str, Any] | Exception] = []
    for event in events:
        try:
            answers.append(_answer(event, "batched"))
        except TransientError as error:
            answers.append(error)
    return answers


@handler("handed_over_counting", state=("counts",))
class Counting:
    """How many events a key has had."""

    async def open(self, context: HandlerContext) -> None:
        self._counts = context.state("counts")

    def __call__(self, event: Event) -> dict[str, Any]:
        count = (self._counts.get(event, event.key_text) or 0) + 1
        self._counts.put(event, event.key_text, count)
        return {**_answer(event, "counting"), "count": count}


def config_of(names: Collection[str], concurrency: int) -> dict[str, Any]:
    config = pipeline_of(slow, retry={"initial_s": 0.5, "jitter": 0})
    ((name, pipeline),) = config["pipelines"].items()
    ((_, settings_of_slow),) = pipeline["handlers"].items()
    handlers = {each: {**settings_of_slow, "use": f"handed_over_{each}"} for each in sorted(names)}
    for each, more in handlers.items():
        if each not in {"quick", "counting"}:
            more["concurrency"] = concurrency
    if "slower" in names:
        handlers["slower"]["where"] = {"field": "n", "gte": 5}
        handlers["slower"]["circuit_breaker"] = {"failures": 2, "reset_s": 3}
    # with state, a handler has to be the only one of a pipeline that delivers exactly once
    delivery = "at_least_once" if "counting" in names or concurrency == 1 else "exactly_once"
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
    fails=st.sampled_from([(), (), (), ("quick",), ("slow", "batched"), ("slower", "counting")]),
)
life = st.tuples(st.lists(sent, max_size=25), st.sampled_from([0.0, 0.3, 2.0]), st.booleans())


@settings(max_examples=40, deadline=None)
@given(
    lives=st.lists(life, min_size=1, max_size=4),
    names=st.sets(st.sampled_from(NAMES), min_size=2, max_size=4),
    concurrency=st.integers(1, 3),
)
def test_every_handler_does_everything_once_and_in_order(
    lives: list[tuple[list[Sent], float, bool]], names: set[str], concurrency: int
) -> None:
    run(_check(lives, config_of(names, concurrency)))


async def _check(lives: list[tuple[list[Sent], float, bool]], config: dict[str, Any]) -> None:
    (pipeline,) = config["pipelines"].values()
    names = set(pipeline["handlers"])
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
        outputs = service.outputs()
        assert not service.dead_letters()

    wanted = {name: range(len(keys)) for name in names}
    if "quick" in names:
        wanted["quick"] = range(1, len(keys), 2)
    if "slower" in names:
        wanted["slower"] = range(5, len(keys))
    told = [(output["by"], output["n"]) for output in outputs]
    assert Counter(told) == {(name, n): 1 for name, some in wanted.items() for n in some}
    for name in names:
        for key in set(keys):
            order = [n for by, n in told if by == name and keys[n] == key]
            assert order == sorted(order)
    for key in set(keys):
        counts = [each["count"] for each in outputs if "count" in each and keys[each["n"]] == key]
        assert counts == list(range(1, len(counts) + 1))
