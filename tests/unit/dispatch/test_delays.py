import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from service import Event, TransientError, handler
from service.testing.broker import MemoryBroker
from service.testing.harness import Harness

Headrace = Callable[..., Harness]

_seen: list[tuple[int, int]] = []


@pytest.fixture(autouse=True)
def wall_clock_in_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def virtual_s() -> float:
        return 1_000_000_000.0 + asyncio.get_running_loop().time()

    monkeypatch.setattr("service.clock.wall_clock_s", virtual_s)


@handler("delays.flaky")
def flaky(event: Event) -> dict[str, Any]:
    number = event.data["n"]
    _seen.append((number, event.attempts))
    if number < 0 and event.attempts < -number:
        raise TransientError("not yet")
    return {"n": number}


def _options(broker: MemoryBroker) -> dict[str, Any]:
    for topic in ("retry.1s", "retry.2s"):
        broker.create_topic(topic)
    return {
        "broker": broker,
        "ordering": "none",
        "retry": {
            "attempts": 2,
            "initial_s": 0.01,
            "delay_topics": [
                {"topic": "retry.1s", "delay_s": 1},
                {"topic": "retry.2s", "delay_s": 2},
            ],
        },
    }


async def test_a_failing_record_waits_in_a_delay_topic_while_its_key_goes_on(
    headrace: Headrace,
) -> None:
    _seen.clear()
    broker = MemoryBroker()

    async with headrace(flaky, **_options(broker)) as service:
        await service.send({"n": -3}, key="k")
        await service.send({"n": 1}, key="k")
        await service.settle()
        early = [output["n"] for output in service.outputs()]
        waiting = broker.records("retry.1s")
        await _until_outputs(service, 2)

        assert early == [1]
        assert waiting[0].header("headrace-attempts") == b"2"
        assert waiting[0].header("headrace-origin") == b"input/0/0"
        assert [output["n"] for output in service.outputs()] == [1, -3]
        assert [attempts for number, attempts in _seen if number == -3] == [0, 1, 2, 3]
        assert len(broker.records("retry.2s")) == 1


async def test_after_the_last_delay_topic_comes_the_dead_letter_topic(headrace: Headrace) -> None:
    broker = MemoryBroker()

    async with headrace(flaky, **_options(broker)) as service:
        await service.send({"n": -99}, key="k")
        for _ in range(200):
            await service.advance(0.1)
            if service.dead_letters():
                break

        letter = service.dead_letters()[0]
        assert (letter.code, letter.key, letter.value) == ("handler", b"k", b'{"n":-99}')
        assert letter.record.header("headrace-origin") == b"input/0/0"
        assert letter.record.header("headrace-attempts") == b"4"


async def _until_outputs(service: Harness, count: int) -> None:
    for _ in range(200):
        if len(service.outputs()) >= count:
            return
        await service.advance(0.1)
