"""Which records are done when which changes are durable, with changelogs that take nothing."""

import asyncio
from collections import Counter
from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.events import Permission, RecordBatch, SourceRecord
from service.publishers.changelog import CHECKPOINT_S, RECHECK_S
from service.publishers.changes import Changes
from service.publishers.checkpoints import MOST_UNDER_WAY, Checkpoint, Written
from service.publishers.runs import Entry, Run
from service.state.keyed import Partition
from service.state.store import LoggedState, LoggedStore
from service.state.table import Table
from tests.unit.publishers.test_changelog import TOPIC, Setting

_STUCK, _WELL = Partition("in", 2), Partition("in", 3)


class TwoPartitions(Setting):
    """A changelog of one state with two partitions, of which one takes nothing when told so."""

    def __init__(self) -> None:
        super().__init__()
        self.store.open("state", _WELL, self.store.reopen("state", _WELL))

    async def handle(self, place: Partition, key: str, value: Any) -> RecordBatch:
        """Handle a record of ``place`` whose only effect is a change, and let a checkpoint go."""
        await self.changelog.prepare()
        self.state.put(place, key, value)
        self.store.settle()
        batch = RecordBatch(*place, [SourceRecord(None)], next_offset=1)
        self.changelog.cover(batch, [0])
        await asyncio.sleep(CHECKPOINT_S)
        return batch

    def sent(self, number: int) -> list[Entry]:
        return [entry for _, at, entry in self.publisher.added_entries if at == number]

    def take(self, number: int) -> None:
        """What was sent to a partition of the changelog is durable."""
        entries = self.sent(number)
        self.publisher.added_entries = [
            each for each in self.publisher.added_entries if each[1] != number
        ]
        for entry in entries:
            entry.batch.ack(entry.place)


async def test_a_record_waits_for_its_own_partition_of_the_changelog_only() -> None:
    setting = TwoPartitions()
    stuck = await setting.handle(_STUCK, "a", 1)
    well = await setting.handle(_WELL, "b", 2)

    setting.take(3)

    assert (stuck.left, well.left) == (1, 0)
    assert setting.changelog.lag == 1
    assert setting.state.tables[_WELL].clean
    assert not setting.state.tables[_STUCK].clean


async def test_both_partitions_of_one_checkpoint_are_settled_by_themselves() -> None:
    setting = TwoPartitions()
    async with asyncio.TaskGroup() as tasks:
        stuck = tasks.create_task(setting.handle(_STUCK, "a", 1))
        well = tasks.create_task(setting.handle(_WELL, "b", 2))

    setting.take(3)
    before = (stuck.result().left, well.result().left)
    setting.take(2)

    assert before == (1, 0)
    assert stuck.result().left == 0


async def test_changes_stay_behind_a_changelog_that_takes_nothing_and_are_one_a_key() -> None:
    setting = TwoPartitions()
    stuck = [await setting.handle(_STUCK, "a", value) for value in range(10)]
    well = await setting.handle(_WELL, "b", 1)
    setting.take(3)
    sent = [entry.value for entry in setting.sent(2)]

    setting.take(2)
    done = [batch.left for batch in stuck].count(0)
    await asyncio.sleep(CHECKPOINT_S)
    last = [entry.value for entry in setting.sent(2)]
    setting.take(2)

    assert sent == [b"0", b"1", b"2", b"3"]
    assert done == MOST_UNDER_WAY
    assert last == [b"9"]
    assert [batch.left for batch in (*stuck, well)] == [0] * 11
    assert setting.changelog.lag == 0


async def test_a_refused_change_does_not_wait_behind_itself() -> None:
    setting = TwoPartitions()
    batches = [await setting.handle(_STUCK, "a", "x" * 500) for _ in range(MOST_UNDER_WAY)]
    refused = setting.sent(2)
    setting.publisher.added_entries = []
    setting.publisher.topics = {TOPIC: setting.publisher.topics[TOPIC]._replace(partitions=9)}

    setting.changelog.refused(refused[0], "too large")
    await asyncio.sleep(CHECKPOINT_S)
    setting.take(2)
    for entry in refused[1:]:
        entry.batch.ack(entry.place)

    assert [batch.left for batch in batches] == [0] * MOST_UNDER_WAY
    assert setting.state.tables[_STUCK].clean


async def test_the_end_waits_for_what_stays_behind() -> None:
    setting = TwoPartitions()
    batches = [await setting.handle(_STUCK, "a", value) for value in range(6)]

    async with asyncio.TaskGroup() as tasks:
        finishing = tasks.create_task(setting.changelog.finish())
        for _ in range(2):
            assert not finishing.done()
            setting.take(2)
            await asyncio.sleep(2 * RECHECK_S)

    assert [batch.left for batch in batches] == [0] * 6
    assert setting.state.tables[_STUCK].clean


class Tick(RecordBatch):
    """What a handler says by itself."""

    __slots__ = ()

    read: ClassVar[bool] = False


async def test_the_end_waits_for_what_a_tick_has_changed_though_no_record_does() -> None:
    setting = TwoPartitions()
    await setting.changelog.prepare()
    setting.state.put(_WELL, "a", 1)
    setting.store.settle()
    tick, owner = Tick("in", 3, [SourceRecord(None)], next_offset=1), object()
    result: Any = Run(tick, [0], owner)  # type: ignore[arg-type]  # only compared
    setting.changelog.wrote(tick, 0, 1)
    setting.changelog.results_stored([result], owner)
    tick.ack(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(setting.changelog.finish())
        await asyncio.sleep(0)  # lets it write
        sent = [entry.value for entry in setting.sent(3)]
        setting.take(3)

    assert tick.left == 0
    assert sent == [b"1"]
    assert setting.state.tables[_WELL].clean


async def test_a_record_that_changed_another_partition_waits_for_all_of_the_checkpoint() -> None:
    setting = TwoPartitions()
    await setting.changelog.prepare()
    setting.state.put(_STUCK, "a", 1)
    setting.state.put(_WELL, "b", 1)
    setting.store.settle()
    batch = RecordBatch("in", 7, [SourceRecord(None)], next_offset=1)
    setting.changelog.cover(batch, [0])
    await asyncio.sleep(CHECKPOINT_S)

    setting.take(3)
    left = batch.left
    setting.take(2)

    assert (left, batch.left) == (1, 0)


class CheckpointMachine(RuleBasedStateMachine):
    """One checkpoint against the obvious model: what each record waits for, as a set."""

    def __init__(self) -> None:
        super().__init__()
        store = LoggedStore(lambda: 0.0)
        self.state: LoggedState = store.keyed("state", ttl_s=None, max_keys=10)
        self.checkpoint = Checkpoint()
        self.records: list[RecordBatch] = []
        self.written: list[Written] = []
        self.sent = False
        self.settled_count = 0

    def permission(self, _place: tuple[str, int]) -> Permission:
        return Permission.GO

    def settled(self, _written: Written) -> None:
        self.settled_count += 1

    @precondition(lambda self: not self.sent)
    @rule(number=st.integers(0, 3))
    def cover(self, number: int) -> None:
        batch = RecordBatch("in", number, [SourceRecord(None)], next_offset=1)
        self.checkpoint.cover(batch, [0])
        self.records.append(batch)

    @precondition(lambda self: not self.sent)
    @rule(number=st.integers(0, 3), count=st.integers(1, 3), topic=st.sampled_from(["in", "too"]))
    def change(self, number: int, count: int, topic: str) -> None:
        table = Table(lambda: 0.0, ttl_s=None, max_keys=10)
        changes = Changes(TOPIC, number, [(0, b"k", b"1", [])] * count)
        of = (self.state, (topic, number), table)
        written = Written(self, self.checkpoint, changes, of)
        self.checkpoint.add(written)
        self.written.append(written)

    @precondition(lambda self: not self.sent)
    @rule()
    def send(self) -> None:
        assert list(self.checkpoint.send()) == self.written
        self.sent = True

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def store(self, data: st.DataObject) -> None:
        left = [written for written in self.written if written.left]
        if left:
            written = data.draw(st.sampled_from(left))
            written.ack(written.done.index(0))

    @invariant()
    def a_record_is_done_exactly_when_what_it_waits_for_is_durable(self) -> None:
        waits_for = Counter(written.partition for written in self.written)
        open_ = Counter(written.partition for written in self.written if written.left)
        for batch in self.records:
            own = batch.partition in waits_for
            durable = not (open_[batch.partition] if own else open_.total())
            assert (not batch.left) == (self.sent and durable)
        assert self.settled_count == sum(not written.left for written in self.written)
        assert all(written.table.unsettled == bool(written.left) for written in self.written)


TestCheckpoint = CheckpointMachine.TestCase
TestCheckpoint.settings = settings(max_examples=60, stateful_step_count=25)
