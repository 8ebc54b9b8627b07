"""Reading to an end that does not come: who says so, and when."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from service.cli.kafka_clients import KafkaToolError
from service.cli.kafka_records import RecordTools
from service.errors import BrokerUnavailableError
from service.settings import build_settings

AT = TopicPartition("t", 0)


class Consumer:
    """Has ``first`` records at once and the rest ``later_s`` later.

    Args:
        first: How many come at once.
        later_s: When the others come.
        stable: What a broker says is the end; ``None`` if none answers.
    """

    def __init__(self, first: int, later_s: float, stable: int | None) -> None:
        self._later_s = asyncio.get_running_loop().time() + later_s
        self._first = first
        self._stable = stable
        self._position = 0

    def assign(self, partitions: list[Any]) -> None:
        assert partitions == [AT]

    def seek(self, at: Any, offset: int) -> None:
        assert (at, offset) == (AT, 0)

    def assignment(self) -> frozenset[Any]:
        return frozenset({AT})

    async def position(self, at: Any) -> int:
        assert at == AT
        return self._position

    async def end_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        if self._stable is None:
            await asyncio.get_running_loop().create_future()
            raise KafkaError  # never
        return dict.fromkeys(partitions, self._stable)

    async def getmany(self, *, timeout_ms: int) -> dict[Any, list[Any]]:
        there = self._first if asyncio.get_running_loop().time() < self._later_s else 4
        if self._position == there:
            await asyncio.sleep(timeout_ms / 1000)
            return {}
        begin, self._position = self._position, there
        none = {"timestamp": 0, "key": None, "value": None, "headers": ()}
        return {
            AT: [
                SimpleNamespace(topic="t", partition=0, offset=offset, **none)
                for offset in range(begin, there)
            ]
        }


async def read(monkeypatch: pytest.MonkeyPatch, consumer: Consumer) -> int:
    """How many of the four records came."""

    @asynccontextmanager
    async def made(**_: object) -> AsyncGenerator[Consumer]:
        yield consumer

    tools = RecordTools(build_settings({}).kafka)
    monkeypatch.setattr(tools, "consumer_client", made)
    count = 0
    async for chunk in tools.read("t", {0: 0}, {0: 4}):
        count += len(chunk)
    return count


async def test_a_broker_that_goes_away_while_it_is_read_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(BrokerUnavailableError, match="topic t: nothing comes any more"):
        await read(monkeypatch, Consumer(2, later_s=1e9, stable=None))


async def test_a_transaction_that_stays_open_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KafkaToolError, match=r"open transaction .* partition 0 from offset 2 on"):
        await read(monkeypatch, Consumer(2, later_s=1e9, stable=2))


async def test_records_that_take_their_time_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await read(monkeypatch, Consumer(2, later_s=60.0, stable=4)) == 4


async def test_a_record_that_is_refused_is_named() -> None:
    tools = RecordTools(build_settings({}).kafka)
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[Any]] = [loop.create_future() for _ in range(3)]
    futures[0].set_result(None)
    for refused in futures[1:]:
        refused.set_exception(MessageSizeTooLargeError())

    with pytest.raises(KafkaToolError, match=r"^0/2 to t and 1 more: \[Error 10\]"):
        await tools.settle(futures, ["0/1 to t", "0/2 to t", "0/3 to t"])


async def test_what_may_still_be_taken_counts_before_what_is_refused() -> None:
    tools = RecordTools(build_settings({}).kafka)
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[Any]] = [loop.create_future() for _ in range(2)]
    futures[0].set_exception(MessageSizeTooLargeError())
    futures[1].set_exception(KafkaTimeoutError())

    with pytest.raises(BrokerUnavailableError, match=r"^b and 1 more"):
        await tools.settle(futures, ["a", "b"])
