import asyncio
import gc
import weakref
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest

from service.errors import FatalError, OutputTooLargeError
from service.events import Permission, RecordBatch, SourceRecord
from service.publishers.base import Row, TopicInfo
from service.publishers.changelog import (
    CHECKPOINT_RECORDS,
    CHECKPOINT_S,
    HASTEN_PARTS,
    RECHECK_S,
    Changelog,
)
from service.publishers.runs import Entry, Run
from service.state.keyed import Partition
from service.state.store import LoggedState, LoggedStore
from service.state.table import Table

TOPIC = "changelog"
_HERE = Partition("in", 2)


class FakePublisher:
    """Keeps what is added until it is told that the broker has acknowledged it."""

    def __init__(self) -> None:
        self.topics: Mapping[str, TopicInfo] = {}
        self.added_entries: list[tuple[str, int, Entry]] = []

    async def learn(self, topic: str) -> None:
        self.topics = {**self.topics, topic: TopicInfo(3, 1000)}

    def max_record_bytes(self, topic: str) -> int:
        return self.topics[topic].max_message_bytes

    def partition_for(self, topic: str, key: bytes | None, spare: int) -> int:
        raise AssertionError((topic, key, spare))

    def add(self, topic: str, partition: int, entry: Entry) -> None:
        raise AssertionError((topic, partition, entry))

    def partitions_for(self, topic: str, keys: Any, spare: int) -> Sequence[int]:
        raise AssertionError((topic, keys, spare))

    def add_run(self, topic: str, partition: int, run: Run, rows: Sequence[Row]) -> None:
        self.added_entries += [
            (topic, partition, Entry(*row, run.batch, place, run.owner))
            for place, row in zip(run.places, rows, strict=True)
        ]

    def added(self, *, urgent: bool) -> None:
        assert urgent

    tight = False

    @property
    def full(self) -> bool:
        return False

    async def room(self) -> None:
        raise AssertionError

    def acknowledge(self) -> None:
        entries, self.added_entries = self.added_entries, []
        for _, _, entry in entries:
            entry.batch.ack(entry.place)

    @property
    def values(self) -> list[tuple[int, bytes | None, Any]]:
        return [
            (number, entry.key, None if entry.value is None else orjson.loads(entry.value))
            for _, number, entry in self.added_entries
        ]


class Setting:
    """A changelog of one state whose partition is open."""

    def __init__(self, *, transactional: bool = False) -> None:
        self.publisher = FakePublisher()
        self.store = LoggedStore(asyncio.get_running_loop().time)
        self.state: LoggedState = self.store.keyed("state", ttl_s=None, max_keys=100)
        self.store.open("state", _HERE, self.store.reopen("state", _HERE))
        self.changelog = Changelog(
            self.store,
            self.publisher,
            {"state": TOPIC},
            handler="h",
            transactional=transactional,
        )

    async def change(self, key: str, value: Any) -> RecordBatch:
        await self.changelog.prepare()
        self.state.put(_HERE, key, value)
        self.store.settle()
        return RecordBatch("in", 2, [SourceRecord(None)], next_offset=1)


async def test_a_record_is_acknowledged_when_what_it_changed_is_durable() -> None:
    setting = Setting()
    batch = await setting.change("a", 1)
    setting.changelog.cover(batch, [0])

    await asyncio.sleep(CHECKPOINT_S)
    assert setting.publisher.values == [(2, b"in/a", 1)]
    assert batch.left == 1
    assert setting.changelog.lag == 1
    setting.publisher.acknowledge()

    assert batch.left == 0
    assert setting.changelog.lag == 0
    assert setting.state.tables[_HERE].clean


async def test_many_changes_of_a_key_are_one_record_with_its_latest_value() -> None:
    setting = Setting()
    batches = [await setting.change("a", value) for value in range(10)]
    for batch in batches:
        setting.changelog.cover(batch, [0])

    await asyncio.sleep(CHECKPOINT_S)
    assert setting.publisher.values == [(2, b"in/a", 9)]
    setting.publisher.acknowledge()

    assert [batch.left for batch in batches] == [0] * 10


async def test_many_waiting_records_bring_the_next_checkpoint_forward() -> None:
    setting = Setting()
    await setting.change("a", 1)
    records = [SourceRecord(None)] * CHECKPOINT_RECORDS
    batch = RecordBatch("in", 2, records, next_offset=CHECKPOINT_RECORDS)

    setting.changelog.cover(batch, range(CHECKPOINT_RECORDS))
    await asyncio.sleep(0.001)

    assert setting.publisher.values == [(2, b"in/a", 1)]


async def test_a_source_without_room_brings_the_next_checkpoint_forward() -> None:
    setting = Setting()
    batch = RecordBatch("in", 2, [SourceRecord(None)] * CHECKPOINT_RECORDS, next_offset=1)
    await setting.change("a", 1)
    setting.changelog.hasten()  # nothing waits
    setting.changelog.cover(batch, range(CHECKPOINT_RECORDS // HASTEN_PARTS - 1))
    setting.changelog.hasten()
    await asyncio.sleep(0.01)
    assert setting.publisher.values == []  # so few that little room would come of it

    setting.changelog.cover(batch, [CHECKPOINT_RECORDS - 1])
    await asyncio.sleep(0.01)
    assert setting.publisher.values == []  # there is room enough
    setting.changelog.hasten()
    await asyncio.sleep(0.01)
    assert setting.publisher.values == [(2, b"in/a", 1)]
    await asyncio.sleep(CHECKPOINT_S)
    assert len(setting.publisher.values) == 1


class _Watched(RecordBatch):
    """Can be told to be gone, as it has no slots."""


async def test_a_checkpoint_keeps_no_record_that_is_done() -> None:
    setting = Setting()
    await setting.change("a", 1)
    batch = _Watched("in", 2, [SourceRecord(None)], next_offset=1)
    gone = weakref.ref(batch)
    gc.disable()  # in the service it looks so rarely that this would be all the memory there is
    try:
        setting.changelog.cover(batch, [0])
        del batch
        await asyncio.sleep(CHECKPOINT_S)
        assert gone() is not None
        setting.publisher.acknowledge()
        assert gone() is None
    finally:
        gc.enable()


async def test_a_change_waits_for_the_results_of_its_record() -> None:
    setting = Setting()
    batch = await setting.change("a", 1)
    owner = setting
    setting.changelog.unwritten.add((batch, 0))
    setting.changelog.wrote(batch, 0, 1)
    result = Run(batch, [0], owner)  # type: ignore[arg-type]  # only compared

    await asyncio.sleep(1.0)
    assert setting.publisher.values == []
    setting.changelog.results_stored([result], owner)
    batch.ack(0)

    assert setting.publisher.values == [(2, b"in/a", 1)]
    assert batch.left == 1
    setting.publisher.acknowledge()
    assert batch.left == 0


async def test_no_checkpoint_is_taken_while_results_are_not_queued() -> None:
    setting = Setting()
    covered = await setting.change("a", 1)
    setting.changelog.cover(covered, [0])
    half_done = await setting.change("b", 2)
    setting.changelog.unwritten.add((half_done, 0))

    await asyncio.sleep(1.0)
    assert setting.publisher.values == []
    setting.changelog.dropped(half_done, 0)
    await asyncio.sleep(RECHECK_S)

    assert [key for _, key, _ in setting.publisher.values] == [b"in/a", b"in/b"]


async def test_a_revoked_partition_writes_nothing_and_acknowledges_nothing() -> None:
    setting = Setting()
    batch = await setting.change("a", 1)
    setting.changelog.cover(batch, [0])

    batch.revoked = True
    setting.store.release(_HERE)
    await asyncio.sleep(1.0)

    assert setting.publisher.values == []
    assert batch.left == 1


async def test_changes_wait_while_nobody_knows_whose_their_partition_is() -> None:
    setting = Setting()
    answers: dict[tuple[str, int], Permission] = {_HERE: Permission.WAIT}
    setting.changelog.owners.append(lambda *place: answers.get(place))
    batch = await setting.change("a", 1)
    setting.changelog.cover(batch, [0])

    await asyncio.sleep(CHECKPOINT_S)
    (_, _, entry) = setting.publisher.added_entries[0]
    before = entry.batch.permission()
    answers[_HERE] = Permission.GO
    after = entry.batch.permission()
    answers.clear()  # a source that has never read it has nothing to say

    assert (before, after) == (Permission.WAIT, Permission.GO)
    assert entry.batch.permission() is Permission.GO


async def test_changes_of_a_partition_that_went_are_dropped_and_the_others_count() -> None:
    setting = Setting()
    there = Partition("in", 3)
    setting.store.open("state", there, setting.store.reopen("state", there))
    lost = await setting.change("a", 1)
    setting.state.put(there, "b", 2)
    setting.store.settle()
    kept = RecordBatch("in", 3, [SourceRecord(None)], next_offset=1)
    setting.changelog.cover(lost, [0])
    setting.changelog.cover(kept, [0])
    await asyncio.sleep(CHECKPOINT_S)
    (gone, stays) = [entry.batch for _, _, entry in setting.publisher.added_entries]

    lost.revoked = True
    setting.store.release(_HERE)
    permissions = (gone.permission(), stays.permission())
    gone.dropped([0])
    stays.ack(0)

    assert permissions == (Permission.NEVER, Permission.GO)
    assert kept.left == 0
    assert setting.changelog.pending == 0


async def test_what_was_dropped_is_not_taken_for_written_when_its_partition_comes_back() -> None:
    setting = Setting()
    batch = await setting.change("a", 1)
    setting.changelog.cover(batch, [0])
    await asyncio.sleep(CHECKPOINT_S)
    (_, _, entry) = setting.publisher.added_entries[0]
    table = setting.state.tables[_HERE]

    setting.store.release(_HERE)
    entry.batch.dropped([0])
    again = setting.store.reopen("state", _HERE)

    assert again is not table
    assert again.get("a") is None


@pytest.mark.parametrize(
    "late",
    ["x" * 2000, {1, 2}, float("nan"), {"deep": defaultdict(float, a=float("-inf"))}],
    ids=["too large", "no JSON", "NaN", "infinite, in a mapping of another kind"],
)
async def test_a_value_that_cannot_be_stored_is_dropped_everywhere(late: Any) -> None:
    setting = Setting()
    value: list[Any] = [None]
    batch = await setting.change("a", value)
    value[0] = late  # in place, so that nobody could refuse it
    setting.changelog.cover(batch, [0])

    await asyncio.sleep(CHECKPOINT_S)

    assert setting.publisher.values == [(2, b"in/a", None)]
    assert setting.state.get(_HERE, "a") is None


async def test_exactly_once_nothing_is_held_and_the_transaction_takes_the_changes() -> None:
    setting = Setting(transactional=True)
    batch = await setting.change("a", 1)
    setting.changelog.cover(batch, [0])
    assert batch.left == 0

    ((topic, number, run, rows),) = setting.changelog.take(_HERE)
    assert (topic, number, [key for _, key, *_ in rows]) == (TOPIC, 2, [b"in/a"])
    assert not setting.state.tables[_HERE].clean
    run.owner.stored(TOPIC, [run], 1, since_s=0.0)

    assert setting.state.tables[_HERE].clean
    assert setting.changelog.take(_HERE) == []


async def test_a_refused_change_is_never_passed_over() -> None:
    setting = Setting()
    batch = await setting.change("a", 1)
    entry = Entry(None, b"in/a", b"1", (), batch, 0, setting.changelog)

    with pytest.raises(OutputTooLargeError):
        setting.changelog.refused(entry, "too large")


async def test_what_a_checkpoint_fails_with_is_raised_where_somebody_hears_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_table: Table, _keys: object) -> list[Any]:
        raise FatalError("the disk takes nothing")

    setting = Setting()
    batch = await setting.change("a", 1)
    setting.changelog.cover(batch, [0])
    monkeypatch.setattr(Table, "peek_many", full)

    await asyncio.sleep(CHECKPOINT_S)

    with pytest.raises(FatalError, match="takes nothing"):
        setting.changelog.changed()  # as it is told once a second
    assert batch.left == 1


async def refused_change(setting: Setting, value: Any) -> RecordBatch:
    """A record whose change the broker has refused, from a topic that takes 400 bytes."""
    batch = await setting.change("a", value)
    setting.changelog.cover(batch, [0])
    await asyncio.sleep(CHECKPOINT_S)
    ((_, _, entry),) = setting.publisher.added_entries
    setting.publisher.added_entries = []
    setting.publisher.topics = {TOPIC: TopicInfo(3, 400)}
    setting.changelog.refused(entry, "too large")
    return batch


async def test_a_value_that_its_topic_refuses_is_dropped_everywhere_too() -> None:
    setting = Setting()
    batch = await refused_change(setting, "x" * 500)
    left = batch.left

    await asyncio.sleep(CHECKPOINT_S)
    told = setting.publisher.values
    setting.publisher.acknowledge()

    assert left == 1
    assert told == [(2, b"in/a", None)]
    assert setting.state.get(_HERE, "a") is None
    assert batch.left == 0
    assert setting.changelog.lag == 0
    assert setting.state.tables[_HERE].clean


async def test_a_value_that_has_become_smaller_takes_the_place_of_one_that_was_refused() -> None:
    setting = Setting()
    batch = await refused_change(setting, "x" * 500)
    await setting.change("a", "small")

    await asyncio.sleep(CHECKPOINT_S)
    told = setting.publisher.values
    setting.publisher.acknowledge()

    assert told == [(2, b"in/a", "small")]
    assert batch.left == 0


async def test_nobody_waits_for_a_refused_change_of_a_partition_that_went() -> None:
    setting = Setting()
    batch = await setting.change("a", "x" * 500)
    setting.changelog.cover(batch, [0])
    await asyncio.sleep(CHECKPOINT_S)
    ((_, _, entry),) = setting.publisher.added_entries

    setting.store.open("state", _HERE, setting.store.reopen("state", _HERE))
    setting.changelog.refused(entry, "too large")

    assert batch.left == 0
    assert setting.changelog.lag == 0
