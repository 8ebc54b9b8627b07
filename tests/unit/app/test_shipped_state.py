"""What the shipped handlers remember survives the death of their process, in the whole service."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from service.handlers import load_handler
from service.testing.broker import MemoryBroker
from service.testing.harness import Harness, pipeline_of

HANDLERS = ("anomaly", "ensemble", "llm_context", "llm_sentences", "progress", "rolling_metrics")
for _name in HANDLERS:
    load_handler(_name)  # importing reads files, which a coroutine must not do


class Story(NamedTuple):
    """Events, of which the last ones mean something only with what came before."""

    options: Mapping[str, Any]
    before: list[dict[str, Any]]
    after: list[dict[str, Any]]


STORIES = {
    "anomaly": Story(
        {"warmup": 5, "threshold": 3},
        [{"value": 10.0 + n % 2} for n in range(20)],
        [{"value": 10.0}, {"value": 90.0}],
    ),
    "ensemble": Story(
        {"models": 3, "method": "median"},
        [{"request": "r", "model": model, "prediction": float(n)} for n, model in enumerate("ab")],
        [{"request": "r", "model": "c", "prediction": 7.0}],
    ),
    "llm_context": Story(
        {"max_tokens": 100},
        [{"conversation": "c", "role": "system", "content": "be kind", "id": 1}],
        [{"conversation": "c", "role": "user", "content": "hello", "id": 2}],
    ),
    "llm_sentences": Story(
        {},
        [{"conversation": "c", "index": 0, "delta": "Half of a "}],
        [{"conversation": "c", "index": 1, "delta": "sentence.", "done": True}],
    ),
    "progress": Story(
        {"step_percent": 5},
        [{"job": "j", "done": 40, "total": 100}],
        [{"job": "j", "done": 30, "total": 100}, {"job": "j", "done": 100, "total": 100}],
    ),
    "rolling_metrics": Story(
        {"window": "count", "count": 3},
        [{"value": 1.0}, {"value": 2.0}],
        [{"value": 6.0}],
    ),
}


def config(name: str, delivery: str) -> dict[str, Any]:
    document = pipeline_of(name, options=dict(STORIES[name].options))
    document["pipelines"]["test"]["delivery"] = delivery
    return document


async def tell(service: Harness, events: list[dict[str, Any]], first_ms: int) -> None:
    for number, event in enumerate(events):
        await service.send(event, key=b"k", timestamp=first_ms + 1000 * number)
    await service.settle()


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("name", HANDLERS)
async def test_after_a_kill_a_handler_says_what_it_would_have_said(
    name: str, delivery: str
) -> None:
    story = STORIES[name]
    after_ms = 1000 * len(story.before)
    broker = MemoryBroker()
    async with Harness(config(name, delivery)) as undisturbed:
        await tell(undisturbed, story.before, 0)
        said_before = len(undisturbed.outputs())
        await tell(undisturbed, story.after, after_ms)
        expected = undisturbed.outputs()
    async with Harness(config(name, delivery)) as without:
        await tell(without, story.after, after_ms)
        forgetful = without.outputs()

    async with Harness(config(name, delivery), broker=broker) as first:
        await tell(first, story.before, 0)
        await first.kill()
    async with Harness(config(name, delivery), broker=broker) as second:
        await tell(second, story.after, after_ms)
        told = second.outputs()

    assert told == expected
    assert forgetful != expected[said_before:], "the story needs no memory and proves nothing"
