"""Topics that may not be read wait, the others go on, and so do they once they may."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import Event, handler
from service.consumers.kafka_refusals import BELIEVED_S, REST_MAX_S, Refusals
from service.metrics import Cause, PartitionStatus
from service.testing.harness import Harness, pipeline_of

DELIVERIES = ["at_least_once", "exactly_once"]


@handler("refusals.slow")
async def slow(event: Event) -> dict[str, Any]:
    return {"n": event.data["n"]}


@handler("refusals.large")
async def large(event: Event) -> dict[str, Any]:
    await asyncio.sleep(event.data["wait_s"])
    return {"n": event.data["n"], "text": "x" * event.data["length"]}


def _config(delivery: str, called: Callable[..., Any] = slow) -> dict[str, Any]:
    config = pipeline_of(called)
    config["pipelines"]["test"]["delivery"] = delivery
    config["pipelines"]["test"]["sources"]["kafka"]["topics"] = ["input", "other"]
    return config


def _row(service: Harness, topic: str) -> PartitionStatus:
    (row,) = (
        each
        for each in service.application.snapshot().pipelines["test"].partitions
        if each.topic == topic
    )
    return row


def _numbers(service: Harness) -> list[int]:
    return [output["n"] for output in service.outputs()]


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_topic_that_is_refused_waits_and_is_named_while_the_others_go_on(
    delivery: str,
) -> None:
    async with Harness(_config(delivery)) as service:
        service.broker.unreadable.add("other")
        await service.send({"n": 1}, topic="other")
        await service.send({"n": 2})
        await service.advance(200)
        await service.send({"n": 3})
        await service.advance(1)
        seen, row = _numbers(service), _row(service, "other")
        clients = len(service.brokers.consumers)
        service.broker.unreadable.clear()
        await service.advance(REST_MAX_S)
        await service.settle()

    assert seen == [2, 3]
    assert row.lag == 1
    assert row.blocking is not None
    assert row.blocking.cause is Cause.FORBIDDEN
    assert clients == 1
    assert _numbers(service) == [2, 3, 1]
    assert service.committed("other") == {0: 1}


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_right_that_is_taken_away_and_given_back_costs_no_record(delivery: str) -> None:
    async with Harness(_config(delivery)) as service:
        for n in range(0, 60, 2):
            if n == 20:
                service.broker.unreadable.add("other")
            if n == 40:
                service.broker.unreadable.clear()
            await service.send({"n": n}, topic="other")
            await service.send({"n": n + 1})
            await service.advance(0.7)
        await service.advance(REST_MAX_S + BELIEVED_S)
        await service.settle()
        row = _row(service, "other")

    assert sorted(_numbers(service)) == list(range(60))
    assert [n for n in _numbers(service) if n % 2 == 0] == list(range(0, 60, 2))
    assert service.committed("other") == service.committed() == {0: 30}
    assert row.blocking is None


async def test_what_was_in_hand_of_a_topic_that_is_refused_leaves_the_others_their_room() -> None:
    async with Harness(_config("exactly_once", large)) as service:
        for n in range(40):
            await service.send({"n": n, "wait_s": 5, "length": 500_000}, topic="other", key=f"{n}")
        await service.advance(1)
        service.broker.unreadable.add("other")
        await service.advance(20)
        for n in range(40, 50):
            await service.send({"n": n, "wait_s": 0, "length": 1}, key=f"{n}")
            await service.advance(1)
        seen = _numbers(service)
        service.broker.unreadable.clear()
        await service.advance(REST_MAX_S + 20)
        await service.settle()

    assert seen == list(range(40, 50))
    assert sorted(_numbers(service)) == list(range(50))


@given(st.lists(st.sampled_from(["refused", "read", "look"]), max_size=60))
def test_a_topic_rests_and_is_tried_in_turn_and_never_waits_for_longer_than_it_may(
    steps: list[str],
) -> None:
    refusals = Refusals()
    now_s, tried_at_s = 0.0, 0.0

    for step in steps:
        now_s += 1.0
        if step == "refused":
            refusals.refused("t", now_s)
            tried_at_s = tried_at_s if "t" in refusals else now_s
        elif step == "read":
            was_resting = refusals.resting("t")
            assert not (refusals.read("t") and was_resting)
        if refusals.due(now_s) or "t" not in refusals:
            tried_at_s = now_s
        refusals.over(now_s)
        assert now_s - tried_at_s <= max(REST_MAX_S, BELIEVED_S)
        assert not (refusals.resting("t") and "t" not in refusals)
