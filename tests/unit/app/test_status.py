"""What a snapshot of the whole service says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from service import Event, TransientError, handler
from service.clock import wall_clock_ms
from service.errors import BrokerUnavailableError
from service.handlers import HandlerContext, KeyedState
from service.metrics import Cause
from service.metrics.registry import BLOCKED
from service.state.restore import Chunk
from service.telemetry import Sources
from service.telemetry.readings import NUMBERS
from service.testing.broker_changelogs import MemoryChangelogs
from service.testing.harness import Harness, pipeline_of


@handler("status_tests_quick")
def quick(event: Event) -> dict[str, Any]:
    """At once."""
    return {"n": event.data["n"]}


@pytest.mark.parametrize("workers", [1, 4])
async def test_the_processes_of_a_pod_ask_for_as_many_pods_together_as_one_alone(
    workers: int,
) -> None:
    """Each of four that do not know what they can do would ask for a pod to stay as they are."""
    async with Harness({**pipeline_of(quick), "workers": workers}, partitions=4) as service:
        share = service.application.snapshot().pipelines["test"].replicas_desired

    assert share * workers == 1


@handler("status_tests_slow")
async def slow(event: Event) -> dict[str, Any]:
    """Takes a second, and some for ever."""
    await asyncio.sleep(event.data.get("takes_s", 1))
    return {"n": event.data["n"]}


SLOW = pipeline_of(slow, concurrency=1, timeout_s=600)


async def held_up(service: Harness, seconds: int) -> list[str]:
    """The causes that the metric has 1 for, looked at once a second; most are none."""
    found: list[str] = []
    for _ in range(seconds):
        sources = Sources(status=service.application.snapshot)
        found.append(" ".join(labels[-1] for labels, one in NUMBERS[BLOCKED](sources) if one))
        await asyncio.sleep(1)
    return found


async def test_a_backlog_that_is_worked_off_is_held_up_by_nothing() -> None:
    """Every record has been in memory for a minute when its turn comes; the commits move on."""
    async with Harness(SLOW) as service:
        service.application.snapshot()
        for n in range(200):
            await service.send({"n": n}, key=f"key-{n}")

        found = await held_up(service, 150)
        (partition,) = service.application.snapshot().pipelines["test"].partitions
        await service.kill()

    assert set(found) == {""}
    assert partition.blocking is not None  # what the others wait for
    assert partition.blocking.cause is Cause.BACKPRESSURE


async def test_a_record_that_a_backlog_does_not_get_past_holds_it_up() -> None:
    async with Harness(SLOW) as service:
        service.application.snapshot()
        for n in range(200):
            await service.send({"n": n, "takes_s": 100 if n == 60 else 1}, key=f"key-{n}")

        found = await held_up(service, 150)
        await service.kill()

    assert 65 <= found.index("backpressure") <= 68
    assert set(found[68:]) == {"backpressure", "slow_handler"}


@handler("status_tests_failing")
async def failing(event: Event) -> None:
    """Its service is away."""
    del event
    raise TransientError("away")


async def test_what_waits_for_an_open_circuit_is_called_a_retry() -> None:
    config = pipeline_of(
        failing, circuit_breaker={"failures": 1, "reset_s": 600}, retry={"attempts": 99}
    )
    async with Harness(config) as service:
        await service.send({"n": 0})
        await asyncio.sleep(30)

        (partition,) = service.application.snapshot().pipelines["test"].partitions
        await service.kill()

    assert partition.blocking is not None
    assert (partition.blocking.cause, partition.blocking.offset) == (Cause.RETRY, 0)


async def test_a_source_that_waits_for_room_in_memory_does_not_count_as_idle() -> None:
    """ "Mostly poll" tells an operator that the service has nothing to do."""
    async with Harness({**SLOW, "memory": {"max_records": 20}}) as service:
        for n in range(200):
            await service.send({"n": n}, key=f"key-{n}")
        counters = service.application.pipelines["test"].counters
        poll_s = counters.poll_s

        await asyncio.sleep(60)
        busy_poll_s, waited_s = counters.poll_s - poll_s, counters.backpressure_s
        await service.kill()

    assert waited_s > 50
    assert busy_poll_s < 5


async def test_a_source_that_has_nothing_to_read_is_idle() -> None:
    async with Harness(SLOW) as service:
        await asyncio.sleep(60)
        counters = service.application.pipelines["test"].counters

        assert counters.poll_s > 50
        assert counters.backpressure_s == 0


@handler("status_tests_remembering", state=("seen",), concurrency=1, timeout_s=600)
class Remembering:
    """Slow, and with a state that has to be restored."""

    async def open(self, context: HandlerContext) -> None:
        self._seen: KeyedState = context.state("seen")

    async def __call__(self, event: Event) -> None:
        self._seen.put(event, event.key_text, event.data["n"])
        await asyncio.sleep(1)


async def test_a_backlog_that_was_there_before_the_state_is_no_reason_for_more_replicas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What lies in a partition is not known before it is read; it has not arrived just then."""
    read = MemoryChangelogs.read
    missing = {1}

    def look(
        self: MemoryChangelogs, topic: str, partition: int, start: int
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        if partition in missing:
            raise BrokerUnavailableError("not yet")
        return read(self, topic, partition, start)

    monkeypatch.setattr(MemoryChangelogs, "read", look)
    old_ms = wall_clock_ms() - 600_000
    shares: list[float] = []
    async with Harness(pipeline_of(Remembering), partitions=2) as service:
        for n in range(200):
            await service.send({"n": n}, partition=1, timestamp=old_ms)
        for second in range(100):
            if second == 60:
                missing.clear()
            await service.send({"n": second}, partition=0, timestamp=old_ms)
            shares.append(service.application.snapshot().pipelines["test"].replicas_desired)
            await asyncio.sleep(1)
        status = service.application.snapshot().pipelines["test"]
        await service.kill()

    assert status.partitions[1].lag > 100
    assert set(shares[:60]) == {1.0}
    assert 1.2 < shares[-1] < 1.5
    assert max(shares) < 1.5
