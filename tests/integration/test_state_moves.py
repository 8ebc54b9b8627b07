"""Members come, go, restart and die in the middle of windows; the figures are what they would be.

A second member joins while windows are open, so that partitions move with their state both ways.
Clean moves change nothing in either delivery; after a kill, exactly once changes nothing, and at
least once may count again what was handled since the last commit, and nothing else.
"""

import asyncio
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.kafka.client import Kafka
from tests.service_process import ServiceProcess
from tests.windowed import (
    WindowId,
    by_window,
    closing,
    committed,
    config,
    endless_values,
    figures,
    make_topics,
    source_records,
    wrong,
)

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(480)]

_CHUNK = 100
_PAUSE_S = 0.05
"""2,000 values a second, which are 20 s of event time, so two windows of each key."""

_WAIT_S = 90.0
"""Longest wait for a partition; on a machine with other work a rebalance takes its time."""

DELIVERIES = pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])


class _Members:
    """Two members of a group while values come in, and everything that they have said."""

    def __init__(self, kafka: Kafka, delivery: str, directory: Path) -> None:
        self._kafka, self._delivery, self._directory = kafka, delivery, directory
        self._over = asyncio.Event()
        self.sent: list[tuple[bytes, bytes]] = []
        self.topics: dict[str, str] = {}
        self.first: ServiceProcess
        self.second: ServiceProcess

    async def run(self, moves: "Callable[[_Members], Awaitable[None]]") -> list[dict[str, Any]]:
        """Let ``moves`` happen while values come in; returns the figures."""
        self.topics = await make_topics(self._kafka)
        document = config(self.topics, self._delivery)
        place = self._kafka.bootstrap, document, self._directory
        self.first = ServiceProcess(*place, name="first")
        self.second = ServiceProcess(*place, name="second")
        async with self.first, self.second, asyncio.TaskGroup() as tasks:
            await _ready(self.first, self.second)
            tasks.create_task(self._load())
            await asyncio.sleep(1)
            await moves(self)
            await asyncio.sleep(1)
            self._over.set()
            await self._end()
        return await figures(self._kafka, self.topics["output"])

    async def _load(self) -> None:
        coming = endless_values()
        while not self._over.is_set():
            chunk = list(itertools.islice(coming, _CHUNK))
            await self._kafka.produce(self.topics["source"], chunk)
            self.sent += chunk
            await asyncio.sleep(_PAUSE_S)
        last = closing(len(self.sent))
        await self._kafka.produce(self.topics["source"], last)

    async def _end(self) -> None:
        await asyncio.sleep(2 * _PAUSE_S)
        await committed(self._kafka, self.topics, len(self.sent) + 60)
        for member in (self.first, self.second):
            if not member.ended:
                assert await member.terminate() == 0

    async def every_partition_goes_on(self) -> None:
        """Wait until each partition is committed beyond where it is now."""
        group, source = self.topics["group"], self.topics["source"]
        before = await self._kafka.committed(group, source)
        async with asyncio.timeout(_WAIT_S):
            while not all(
                position > before.get(partition, 0)
                for partition, position in (await self._kafka.committed(group, source)).items()
            ):
                await asyncio.sleep(0.1)

    def restored(self) -> int:
        """Records of changelogs that were read back."""
        told = [*self.first.events("state restored"), *self.second.events("state restored")]
        return sum(entry["records"] for entry in told)


async def _ready(*members: ServiceProcess) -> None:
    """Wait until each of them has a partition that it did not have before."""
    counts = [len(member.events("partition ready")) for member in members]
    for member, count in zip(members, counts, strict=True):
        await member.wait_logged("partition ready", count=count + 1, timeout_s=_WAIT_S)


async def _join_and_leave(members: _Members) -> None:
    """The second member leaves, comes back and leaves again."""
    for life in range(2):
        if life:
            await members.second.start()
            await _ready(members.second)
            await asyncio.sleep(1)
        assert await members.second.terminate() == 0
        await asyncio.sleep(1)


async def _rolling_restart(members: _Members) -> None:
    """Each of the two is stopped and started again."""
    for member in (members.first, members.second):
        assert await member.terminate() == 0
        await member.start()
        await _ready(member)
        await asyncio.sleep(0.5)


@pytest.mark.parametrize("moves", [_join_and_leave, _rolling_restart])
@DELIVERIES
async def test_partitions_that_move_in_the_middle_of_windows_change_no_figure(
    delivery: str,
    moves: Callable[[_Members], Awaitable[None]],
    kafka: Kafka,
    tmp_path: Path,
) -> None:
    members = _Members(kafka, delivery, tmp_path)

    told = await members.run(moves)

    expected = by_window(members.sent)
    assert members.restored() > 0
    assert Counter((f["key"], f["start"]) for f in told) == Counter(dict.fromkeys(expected, 1))
    assert [f for f in told if wrong(f, expected[f["key"], f["start"]])] == []


@DELIVERIES
async def test_members_that_die_in_the_middle_of_windows_change_what_the_delivery_allows(
    delivery: str, kafka: Kafka, tmp_path: Path
) -> None:
    members = _Members(kafka, delivery, tmp_path)
    deaths: list[_Death] = []

    async def kill_both_in_turn(members: _Members) -> None:
        for member, other in (
            (members.first, members.second),
            (members.second, members.first),
        ):
            before = len(other.events("partition ready"))
            await member.kill()
            died_at_ms = time.time_ns() / 1e6  # compared with the stamps of records
            await members.every_partition_goes_on()
            deaths.append(_Death(died_at_ms, other.events("partition ready")[before:]))
            await member.start()
            await _ready(member)
            await asyncio.sleep(1)

    told = await members.run(kill_both_in_turn)

    expected = by_window(members.sent)
    by_id: defaultdict[WindowId, list[dict[str, Any]]] = defaultdict(list)
    for figure in told:
        by_id[figure["key"], figure["start"]].append(figure)
    redone = await _redone(kafka, members, deaths)
    assert members.restored() > 0
    assert set(by_id) == set(expected)
    for window, found in by_id.items():
        count = len(expected[window])
        if delivery == "exactly_once":
            assert len(found) == 1, window
            assert not wrong(found[0], expected[window]), window
        else:
            again = redone.values[window]
            most = max(figure["count"] for figure in found)
            assert count <= most <= count + again, window
            assert len(found) <= 1 + redone.closes[window[0]], window
            assert again or not any(wrong(figure, expected[window]) for figure in found), window


class _Death(NamedTuple):
    """When a member died, and what the other said of the partitions that it took over."""

    at_ms: float
    taken_over: list[dict[str, Any]]


class _Redone(NamedTuple):
    """What at least once allows after deaths."""

    values: Counter[WindowId]
    """How many values of a window may count again: there at a death, and not committed."""

    closes: Counter[str]
    """How often a window of a key may be told again, if all its own values were committed.

    A window is closed by a later record of its partition, of any key. Where that record was not
    committed at a death, its handling, and what it closed, is done again.
    """


async def _redone(kafka: Kafka, members: _Members, deaths: list[_Death]) -> _Redone:
    records = await source_records(kafka, members.topics)
    keys: defaultdict[int, set[str]] = defaultdict(set)
    for record in records:
        keys[record.partition].add((record.key or b"").decode())
    redone = _Redone(Counter(), Counter())
    for death in deaths:
        position = {
            int(entry["partition"].rpartition("/")[2]): entry["position"] or 0
            for entry in death.taken_over
        }
        uncommitted = [
            record
            for record in records
            if record.offset >= position.get(record.partition, record.offset + 1)
            and record.timestamp_ms <= death.at_ms
        ]
        for record in uncommitted:
            redone.values.update(by_window([(record.key, record.value)]).keys())
        for partition in {record.partition for record in uncommitted}:
            redone.closes.update(keys[partition])
    return redone
