"""What a drain finishes, and what it leaves in its topic."""

import asyncio
import os
from collections import Counter
from typing import Any, cast

import pytest

from service import Event, TransientError, handler
from service.app.edge import Edge
from service.metrics import HubCounters
from service.testing.broker import MemoryBroker
from service.testing.harness import Harness, pipeline_of


@handler("drain_tests_slow")
async def slow(event: Event) -> dict[str, Any]:
    """Takes its time."""
    await asyncio.sleep(event.data.get("takes_s", 1))
    if event.data.get("bad") or (event.data.get("flaky") and event.attempts == 0):
        raise TransientError("not yet")
    return {"n": event.data["n"], "by": "slow"}


@handler("drain_tests_quick")
def quick(event: Event) -> dict[str, Any]:
    """At once."""
    return {"n": event.data["n"], "by": "quick"}


SLOW = pipeline_of(slow, concurrency=2, timeout_s=600)


def both(where: dict[str, Any] | None = None, **slow_settings: Any) -> dict[str, Any]:
    """A quick handler, of what ``where`` selects, and a slow one for every event."""
    config = pipeline_of(slow, concurrency=2, **slow_settings)
    ((name, pipeline),) = config["pipelines"].items()
    ((_, slow_handler),) = pipeline["handlers"].items()
    quick_handler = {**slow_handler, "use": f"{__name__}:quick", "where": where}
    handlers = {"slow": slow_handler, "quick": quick_handler}
    return {**config, "pipelines": {name: {**pipeline, "handlers": handlers}}}


async def test_what_has_not_begun_in_the_first_part_of_the_budget_stays_in_its_topic() -> None:
    broker = MemoryBroker()
    async with Harness(SLOW, broker=broker) as service:
        for n in range(100):
            await service.send({"n": n}, key=f"key-{n}")
        await service.advance(1.5)
        report = await service.drain()
        done = len(service.records())

    assert (report.drained, report.exit_code) == (True, os.EX_OK)
    assert report.took_s <= 25 / 5 + 1 + 0.5  # and the calls that were running, and the polls
    assert 10 <= done < 100
    assert report.returned == 100 - done
    assert not report.abandoned

    async with Harness(SLOW, broker=broker) as service:
        await service.settle()

        assert sorted(output["n"] for output in service.outputs()) == list(range(100))


async def test_a_drain_does_not_wait_for_another_attempt_but_says_so() -> None:
    async with Harness(SLOW) as service:
        await service.send({"n": 1, "takes_s": 6, "bad": True}, key="a")
        await service.send({"n": 2, "takes_s": 8}, key="b")
        await service.advance(1)
        report = await service.drain()

        assert [output["n"] for output in service.outputs()] == [2]
    assert (report.drained, report.exit_code) == (False, os.EX_TEMPFAIL)
    assert report.took_s < 10
    assert len(report.abandoned) == 1


async def test_what_outlasts_the_whole_budget_is_abandoned() -> None:
    async with Harness(SLOW) as service:
        await service.send({"n": 1, "takes_s": 100})
        await service.advance(1)
        report = await service.drain()

    assert (report.drained, report.exit_code) == (False, os.EX_TEMPFAIL)
    assert 25 <= report.took_s <= 26
    assert len(report.abandoned) == 1


class Told:
    """An edge that notes when it is told what."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []
        self.counters = HubCounters()
        self._began_s = asyncio.get_running_loop().time()

    def refuse_new(self) -> None:
        self._note("refuse_new")

    def dismiss(self) -> None:
        self._note("dismiss")

    async def stop(self, deadline_s: float) -> None:
        del deadline_s
        self._note("stop")

    def _note(self, call: str) -> None:
        now_s = asyncio.get_running_loop().time()
        self.calls.append((call, round(now_s - self._began_s, 1)))


async def test_who_waits_for_an_answer_is_not_cut_off_before_what_he_waits_for_is_done() -> None:
    async with Harness(SLOW) as service:
        await service.send({"n": 1, "takes_s": 4}, key="a")
        await service.advance(1)
        edge = Told()
        service.application.edge = cast("Edge", edge)
        report = await service.drain()

    assert report.drained
    assert edge.calls == [("refuse_new", 0.0), ("dismiss", 1.6), ("stop", 3.0)]


async def test_a_revoke_lets_every_handler_finish_what_one_has_begun() -> None:
    broker = MemoryBroker()
    async with Harness(both(), broker=broker) as service:
        for n in range(20):
            await service.send({"n": n}, key=f"key-{n}")
        await service.advance(1.5)
        (group,) = broker.groups.values()
        await group.rebalance()
        await service.settle()

        found = Counter((output["n"], output["by"]) for output in service.outputs())
    assert found == {(n, by): 1 for n in range(20) for by in ("quick", "slow")}


async def _rebalance_after(config: dict[str, Any], *events: dict[str, Any]) -> list[int]:
    """Rebalance a second after ``events`` were sent; what the slow handler told, in order."""
    async with Harness(config) as service:
        for event in events:
            await service.send(event, key=event["key"])
        await service.advance(1)
        (group,) = service.broker.groups.values()
        await group.rebalance()
        await service.settle()

        return [output["n"] for output in service.outputs() if output["by"] == "slow"]


async def test_a_revoke_keeps_what_waits_for_another_attempt_in_front_of_its_key() -> None:
    told = await _rebalance_after(
        both(retry={"initial_s": 5}),
        {"n": 0, "key": "a", "takes_s": 0, "flaky": True},
        {"n": 1, "key": "a", "takes_s": 0},
        {"n": 2, "key": "b", "takes_s": 0},
    )

    assert told == [2, 0, 1]


async def test_a_revoke_keeps_what_no_handler_has_begun_in_front_of_its_key() -> None:
    told = await _rebalance_after(
        both(where={"field": "n", "gte": 3}),
        *({"n": n, "key": f"busy-{n}", "takes_s": 3} for n in (1, 2)),
        {"n": 0, "key": "a", "takes_s": 0},
        {"n": 3, "key": "a", "takes_s": 0},
    )

    assert sorted(told) == [0, 1, 2, 3]
    assert told.index(0) < told.index(3)


async def test_a_revoke_does_not_wait_for_what_is_behind_an_event_that_is_left() -> None:
    config = both(retry={"initial_s": 5, "jitter": 0}, where={"field": "n", "lte": 1})
    (pipeline,) = config["pipelines"].values()
    pipeline["delivery"] = "exactly_once"
    pipeline["handlers"]["slow"]["where"] = {"field": "n", "equals": 0}
    async with Harness(config) as service:
        for n in range(2):
            await service.send({"n": n, "takes_s": 0, "flaky": True}, key="a")
        await service.advance(1)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        (group,) = service.broker.groups.values()
        await group.rebalance()
        took_s = loop.time() - began_s
        await service.settle()
        quick_told = [output["n"] for output in service.outputs() if output["by"] == "quick"]

    assert took_s < 5  # the attempt that would have been, not the 15 seconds that there are
    assert quick_told == [0, 1]


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_what_a_revoke_in_a_drain_hands_over_is_not_left_by_the_drain(delivery: str) -> None:
    """A worker that ends first makes the group take the partitions of one that still drains."""
    broker = MemoryBroker()
    config = pipeline_of(slow, concurrency=2, retry={"initial_s": 1.5, "jitter": 0})
    (pipeline,) = config["pipelines"].values()
    pipeline["delivery"] = delivery
    async with Harness(config, broker=broker) as service:
        await service.send({"n": 1, "takes_s": 0, "flaky": True}, key="a")
        await service.send({"n": 2, "takes_s": 3}, key="b")
        await service.advance(1)
        (group,) = broker.groups.values()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(group.rebalance())
            report = await service.drain()

    assert (report.exit_code, report.abandoned) == (os.EX_OK, [])
    async with Harness(config, broker=broker) as service:
        await service.settle()

        assert sorted(output["n"] for output in service.outputs()) == [1, 2]


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("ends", ["drain", "revoke"])
async def test_what_a_slow_handler_has_not_begun_is_left_to_it_alone(
    delivery: str, ends: str
) -> None:
    """The quick one is far ahead; who goes on does only what is not done."""
    broker = MemoryBroker()
    config = both()
    (pipeline,) = config["pipelines"].values()
    pipeline["delivery"] = delivery
    async with Harness(config, broker=broker) as service:
        for n in range(200):
            await service.send({"n": n}, key=f"key-{n}")
        await service.advance(1.5)
        if ends == "revoke":
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            (group,) = broker.groups.values()
            await group.rebalance()
            assert loop.time() - began_s < 2
        report = await service.drain()
        slow_told = sum(output["by"] == "slow" for output in service.outputs())

    assert (report.exit_code, report.abandoned) == (os.EX_OK, [])
    assert report.took_s < 25 / 5 + 1 + 0.5  # the calls that were running, and the polls
    assert slow_told < 20
    async with Harness(config, broker=broker) as service:
        await service.settle()

        found = Counter((output["n"], output["by"]) for output in service.outputs())
    assert found == {(n, by): 1 for n in range(200) for by in ("quick", "slow")}


async def test_a_drain_does_not_wait_for_a_circuit_that_is_open() -> None:
    """What the quick handler has done by then is not done again."""
    broker = MemoryBroker()
    config = both(retry={"attempts": 100, "initial_s": 0.1, "jitter": 0})
    breaks = both(circuit_breaker={"failures": 3, "reset_s": 600})
    async with Harness(breaks, broker=broker) as service:
        for n in range(40):
            await service.send({"n": n, "takes_s": 0, "flaky": True}, key=f"key-{n}")
        await service.advance(5)
        report = await service.drain()

    assert report.took_s < 25 / 5 + 1
    async with Harness(config, broker=broker) as service:
        await service.settle()

        found = Counter((output["n"], output["by"]) for output in service.outputs())
    assert found == {(n, by): 1 for n in range(40) for by in ("quick", "slow")}


async def test_a_handler_that_is_new_gets_what_was_left_of_a_record() -> None:
    broker = MemoryBroker()
    config = both()
    async with Harness(config, broker=broker) as service:
        for n in range(50):
            await service.send({"n": n}, key=f"key-{n}")
        await service.advance(1.5)
        await service.drain()
        finished = {output["n"] for output in service.outputs() if output["by"] == "slow"}
        told = len(service.outputs())
    ((_, pipeline),) = config["pipelines"].items()
    handlers = pipeline["handlers"]
    handlers["renamed"] = handlers.pop("quick")

    async with Harness(config, broker=broker) as service:
        await service.settle()
        more = Counter((output["n"], output["by"]) for output in service.outputs()[told:])

    left = set(range(50)) - finished
    assert left
    assert more == {(n, by): 1 for n in left for by in ("quick", "slow")}
