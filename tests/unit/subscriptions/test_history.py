"""The log, read once for all who catch up from it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BrokerUnavailableError
from service.events import SourceRecord
from service.subscriptions.blocks import BEYOND_RECORDS, SILENCE_S
from service.subscriptions.history import History
from service.subscriptions.positions import Positions
from service.subscriptions.share import LoopShare
from service.testing import virtual_time
from tests.edge.fakes import FakeLog

MUCH = 1 << 30
SIZE = 8


@asynccontextmanager
async def reading(log: FakeLog, *, max_bytes: int = MUCH) -> AsyncIterator[History]:
    history = History(
        "t",
        log,
        share=LoopShare(1.0),
        turns=asyncio.Semaphore(8),
        max_bytes=max_bytes,
        block_offsets=SIZE,
    )
    async with history.used({}):
        yield history


def filled(*partitions: list[int]) -> FakeLog:
    """A log with records at these offsets."""
    log = FakeLog(t=len(partitions))
    for partition, offsets in enumerate(partitions):
        log.topics["t"][partition] = [SourceRecord(b"{}", offset=at) for at in offsets]
    return log


@dataclass
class Client:
    """Somebody who catches up."""

    positions: Positions
    pauses: list[float] = field(default_factory=list)
    got: dict[int, list[int]] = field(default_factory=dict)
    lost: int = 0

    async def catch_up(self, history: History, until: Positions) -> None:
        pauses = iter(self.pauses)
        self.got = {p: [] for p in self.positions}
        while behind := {p: at for p, at in self.positions.items() if at < until[p]}:
            for partition, block in (await history.read(behind, until)).items():
                at = self.positions[partition]
                self.lost += max(0, block.first_offset - at)
                self.got[partition] += [e.offset for e in block.events if e.offset >= at]
                assert block.next_offset > at
                self.positions[partition] = block.next_offset
            await asyncio.sleep(next(pauses, 0.0))


LOGS = st.lists(
    st.lists(st.integers(1, 20), min_size=1, max_size=60).map(
        lambda steps: [sum(steps[: n + 1]) for n in range(len(steps))]
    ),
    min_size=1,
    max_size=3,
)


@given(
    logs=LOGS,
    starts=st.lists(st.lists(st.integers(0, 300), min_size=3, max_size=3), min_size=1, max_size=5),
    pauses=st.lists(st.sampled_from([0.0, 0.1, 1.0]), max_size=5),
    max_records=st.integers(1, 30),
    max_bytes=st.sampled_from([1, 2_000, MUCH]),
)
def test_everybody_gets_everything_once_and_in_order(
    logs: list[list[int]],
    starts: list[list[int]],
    pauses: list[float],
    max_records: int,
    max_bytes: int,
) -> None:
    until = {p: offsets[-1] + 1 for p, offsets in enumerate(logs)}
    clients = [
        Client({p: min(start[p], until[p]) for p in until}, pauses[n:])
        for n, start in enumerate(starts)
    ]
    expected = [
        {p: [at for at in logs[p] if at >= client.positions[p]] for p in until}
        for client in clients
    ]

    async def main() -> FakeLog:
        log = filled(*logs)
        log.max_records = max_records
        async with reading(log, max_bytes=max_bytes) as history, asyncio.TaskGroup() as tasks:
            for client in clients:
                tasks.create_task(client.catch_up(history, until))
        return log

    log = virtual_time.run(main())

    assert [client.got for client in clients] == expected
    assert not any(client.lost for client in clients)
    assert log.reading == 0


async def test_a_block_is_read_once_for_all_who_are_there() -> None:
    log = filled(list(range(100)), list(range(100)))
    log.max_records = 10
    clients = [Client({0: n, 1: 5}) for n in range(20)]
    async with reading(log) as history, asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(client.catch_up(history, {0: 100, 1: 100}))

    assert all(client.got[1] == list(range(5, 100)) for client in clients)
    assert log.opened <= 3  # one for each place where somebody begins
    assert log.read_records <= 3 * 200


async def test_who_reads_and_goes_away_leaves_it_to_those_who_wait() -> None:
    log = filled(list(range(30)))
    log.break_readers()
    log.hold_opens = True
    clients = [Client({0: 0}) for _ in range(3)]
    async with reading(log) as history, asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(client.catch_up(history, {0: 30})) for client in clients]
        await asyncio.sleep(1)
        running[0].cancel()  # the one that reads
        log.mend()
        log.hold_opens = False
        log.appended.set()

    assert clients[0].got == {0: []}
    assert [client.got for client in clients[1:]] == [{0: list(range(30))}] * 2
    assert log.reading == 0


async def test_a_failure_is_everybodys_and_the_next_one_tries_again() -> None:
    log = filled(list(range(30)))
    log.break_readers()
    async with reading(log) as history:
        failures = await asyncio.gather(
            *(Client({0: 0}).catch_up(history, {0: 30}) for _ in range(50)),
            return_exceptions=True,
        )
        assert {type(failure) for failure in failures} == {BrokerUnavailableError}

        log.mend()
        client = Client({0: 0})
        await client.catch_up(history, {0: 30})
        assert client.got == {0: list(range(30))}


async def test_what_is_gone_is_counted_and_reading_goes_on_behind_it() -> None:
    log = filled(list(range(40)), list(range(40)))
    log.truncate("t", 21)
    client = Client({0: 3, 1: 3})
    async with reading(log) as history:
        await client.catch_up(history, {0: 40, 1: 40})

        beside = Client({0: 22, 1: 39})  # in the block that is cut, behind the cut
        await beside.catch_up(history, {0: 40, 1: 40})

    assert client.got == {0: list(range(21, 40)), 1: list(range(3, 40))}
    assert client.lost == 18
    assert (beside.got, beside.lost) == ({0: list(range(22, 40)), 1: [39]}, 0)


async def test_a_log_that_is_shorter_than_it_was_is_not_waited_for() -> None:
    log = filled(list(range(10)))
    async with reading(log) as history:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        log.poll_s = 0.5
        with pytest.raises(BrokerUnavailableError):
            await Client({0: 0}).catch_up(history, {0: 30})
        assert SILENCE_S <= loop.time() - began_s < 2 * SILENCE_S


async def test_a_partition_that_lags_does_not_pile_the_others_up() -> None:
    many = BEYOND_RECORDS * 3
    log = filled(list(range(many)), [many])
    log.max_records = 500
    log.poll_s = 0.5
    log.late[1] = 10  # reads until this one gives something
    client = Client({0: 0, 1: 0})
    async with reading(log) as history:
        blocks = await history.read(client.positions, {0: many, 1: many + 1})
        while 1 not in blocks:
            blocks = await history.read({1: 0}, {1: many + 1})
        assert [event.offset for event in blocks[1].events] == []
        await client.catch_up(history, {0: SIZE * 3, 1: many + 1})

    assert client.got[1] == [many]
    assert client.got[0][: SIZE * 3] == list(range(SIZE * 3))
    assert log.read_records < 2 * BEYOND_RECORDS


async def test_partitions_that_came_later_are_read_by_a_new_reader() -> None:
    log = filled(list(range(30)))
    async with reading(log) as history:
        for _ in range(2):
            await Client({0: 0}).catch_up(history, {0: 30})
        log.topics["t"][1] = [SourceRecord(b"{}", offset=at) for at in range(30)]
        client = Client({0: 9, 1: 0})
        await client.catch_up(history, {0: 30, 1: 30})

    assert client.got == {0: list(range(9, 30)), 1: list(range(30))}
    assert log.reading == 0


async def test_who_goes_away_while_the_readers_are_closed_leaves_none_open() -> None:
    log = filled(list(range(90)))
    log.closing_s = 1.0

    async def come_and_go() -> None:
        async with reading(log) as history, asyncio.TaskGroup() as tasks:
            for at in (0, 24, 48):  # at once, so each with a reader of its own
                tasks.create_task(Client({0: at}).catch_up(history, {0: at + SIZE}))

    async with asyncio.TaskGroup() as tasks:
        coming = tasks.create_task(come_and_go())
        await asyncio.sleep(0.5)
        assert log.reading > 1
        coming.cancel()

    assert log.reading == 0
