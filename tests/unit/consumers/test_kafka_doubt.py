"""An answer of the past about what was committed is asked for again, and believed in the end."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import Event, handler
from service.consumers.base import CommittedOffset, TopicPartition
from service.consumers.kafka_doubt import ASK_AGAIN_S, BELIEVE_AFTER_S, Doubt
from service.testing.broker import MemoryBroker
from service.testing.broker_clients import MemoryConsumer
from service.testing.harness import Harness, pipeline_of

COUNT = 40


@pytest.mark.parametrize(("answer", "known"), [(7, 7), (8, 7), (7, None), (None, None)])
def test_what_is_not_below_what_is_known_is_believed_at_once(
    answer: int | None, known: int | None
) -> None:
    doubt = Doubt()

    assert doubt.believes(answer, known, 1.0)
    assert not doubt.pending
    assert doubt.may_ask(1.0)


@pytest.mark.parametrize("answer", [0, 6, None])
def test_what_is_below_is_asked_for_again_after_a_while(answer: int | None) -> None:
    doubt = Doubt()

    believed = doubt.believes(answer, 7, 1.0)

    assert not believed
    assert doubt.pending
    assert not doubt.may_ask(1.0 + ASK_AGAIN_S / 2)
    assert doubt.may_ask(1.0 + ASK_AGAIN_S)


def test_what_stays_below_is_believed_in_the_end() -> None:
    doubt = Doubt()
    doubt.believes(3, 7, 1.0)

    assert not doubt.believes(3, 7, 0.9 + BELIEVE_AFTER_S)
    assert doubt.believes(3, 7, 1.0 + BELIEVE_AFTER_S)


def test_a_good_answer_ends_the_doubt_so_that_the_next_bad_one_begins_a_new_one() -> None:
    doubt = Doubt()
    doubt.believes(3, 7, 1.0)
    doubt.believes(7, 7, 2.0)

    assert not doubt.believes(3, 7, 1.0 + BELIEVE_AFTER_S)


@given(st.lists(st.none() | st.integers(0, 20), min_size=1), st.integers(0, 20))
def test_no_answer_is_doubted_for_longer_than_it_may_be(
    answers: list[int | None], known: int
) -> None:
    doubt = Doubt()
    asks = int(BELIEVE_AFTER_S / ASK_AGAIN_S) + 1
    answers += answers[-1:] * asks

    believed = [doubt.believes(a, known, at * ASK_AGAIN_S) for at, a in enumerate(answers)]

    assert any(believed)
    for at, answer in enumerate(answers):
        if answer is not None and answer >= known:
            assert believed[at]


@handler("echo")
async def echo(event: Event) -> dict[str, Any]:
    return {"n": event.data["n"]}


class Past:
    """A coordinator that tells for a while what was committed once.

    Args:
        offset: What it tells; ``None`` for nothing.
        until_s: ``loop.time()`` from which on it tells the truth.
    """

    def __init__(self, offset: int | None, until_s: float) -> None:
        self.asked_at_s: list[float] = []
        self._offset = offset
        self._until_s = until_s

    def answer(
        self, names: Collection[TopicPartition], truth: Mapping[TopicPartition, CommittedOffset]
    ) -> dict[TopicPartition, CommittedOffset]:
        now_s = asyncio.get_running_loop().time()
        self.asked_at_s.append(now_s)
        if now_s >= self._until_s:
            return dict(truth)
        return {} if self._offset is None else dict.fromkeys(names, CommittedOffset(self._offset))

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ask = MemoryConsumer.committed

        async def committed(
            client: MemoryConsumer, names: Collection[TopicPartition]
        ) -> dict[TopicPartition, CommittedOffset]:
            return self.answer(names, await ask(client, names))

        monkeypatch.setattr(MemoryConsumer, "committed", committed)


async def worked_off(service: Harness) -> None:
    for n in range(COUNT):
        await service.send({"n": n})
    await service.settle()


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("offset", [None, 3], ids=["nothing", "an early offset"])
async def test_a_rebalance_beside_a_coordinator_that_tells_of_the_past_repeats_nothing(
    offset: int | None, delivery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = MemoryBroker()
    config = pipeline_of(echo)
    config["pipelines"][next(iter(config["pipelines"]))]["delivery"] = delivery
    async with Harness(config, broker=broker, partitions=1) as service:
        await worked_off(service)
        (group,) = broker.groups.values()
        began_s = asyncio.get_running_loop().time()
        past = Past(offset, began_s + 4 * ASK_AGAIN_S)
        past.install(monkeypatch)

        await group.rebalance()
        await service.send({"n": COUNT})
        await service.settle()
        await service.advance(BELIEVE_AFTER_S)

        found = Counter(output["n"] for output in service.outputs())
    assert found == Counter(range(COUNT + 1))
    assert len(past.asked_at_s) > 3


async def test_an_offset_that_was_set_back_on_purpose_is_believed_within_the_same_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = MemoryBroker()
    async with Harness(pipeline_of(echo), broker=broker, partitions=1) as service:
        await worked_off(service)
        (group,) = broker.groups.values()
        began_s = asyncio.get_running_loop().time()
        Past(10, began_s + 3_600).install(monkeypatch)

        await group.rebalance()
        await service.advance(2 * BELIEVE_AFTER_S)
        await service.settle()

        found = Counter(output["n"] for output in service.outputs())
    assert found == Counter(range(COUNT)) + Counter(range(10, COUNT))
