"""Results of no event, and whose they are while nobody knows whose their partition is."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from service.app.emitter import Emitter
from service.events import Outcome, Permission, RecordBatch, Result
from service.handlers.results import PartitionResult
from service.publishers.changelog import Changelog
from service.state.keyed import Partition
from service.state.store import LoggedStore

_HERE = Partition("in", 2)


class Setting:
    """An emitter of a handler whose partition is open, and what it has written."""

    def __init__(self, store: LoggedStore) -> None:
        self.store = store
        self.answer = Permission.GO
        state = store.keyed("state", ttl_s=None, max_keys=10)
        store.open("state", _HERE, store.reopen("state", _HERE))
        state.put(_HERE, "a", 1)
        self.table = state.tables[_HERE]
        publisher: Any = None  # nothing is written here
        changelog = Changelog(store, publisher, {}, handler="h", transactional=False)
        changelog.owners.append(lambda *_: self.answer)
        self.written: list[RecordBatch] = []
        writer: Any = self  # as far as an emitter uses one
        self.emitter = Emitter(writer, "p.h", changelog)

    def takes(self, result: Result) -> bool:
        return result.value is not None

    def publish(self, outcomes: Sequence[Outcome]) -> Awaitable[None] | None:
        self.written += [outcome.batch for outcome in outcomes]
        return None


@pytest.fixture
async def setting() -> Setting:
    return Setting(LoggedStore(asyncio.get_running_loop().time))


async def test_a_timers_results_wait_while_nobody_knows_whose_their_partition_is(
    setting: Setting,
) -> None:
    async with asyncio.TaskGroup() as tasks:
        emitting = tasks.create_task(setting.emitter.emit([PartitionResult(_HERE, {})]))
        await asyncio.sleep(0)  # lets it write
        (batch,) = setting.written
        permissions = []
        for setting.answer in (Permission.WAIT, Permission.GO):
            permissions.append(batch.permission())
        assert not emitting.done()
        batch.ack(0)

    assert permissions == [Permission.WAIT, Permission.GO]


async def test_a_timers_results_are_dropped_with_their_partition_and_nobody_relies_on_them(
    setting: Setting,
) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(setting.emitter.emit([PartitionResult(_HERE, {})]))
        await asyncio.sleep(0)  # lets it write
        (batch,) = setting.written
        setting.table.take_dirty()  # as a checkpoint does
        setting.store.release(_HERE)
        permission = batch.permission()
        batch.dropped([0])

    assert permission is Permission.NEVER
    assert setting.store.reopen("state", _HERE) is not setting.table
