import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from structlog.testing import capture_logs

from service.events import SourceRecord
from service.state.records import encode_key, encode_value
from service.state.restore import LATEST_MAX, LOADED_AT_ONCE, Chunk, restore
from service.state.table import Table


def change(key: str, value: Any, *, topic: str = "in", at_ms: int = 0) -> SourceRecord:
    encoded = None if value is None else encode_value(value)
    return SourceRecord(encoded, key=encode_key(topic, key), timestamp=at_ms)


async def chunked(*chunks: Sequence[SourceRecord]) -> AsyncIterator[Chunk]:
    end = sum(map(len, chunks))
    position = 0
    for records in chunks:
        position += len(records)
        yield Chunk(records, position, end)


def table(**bounds: Any) -> Table:
    made = Table(lambda: 1000.0, **{"ttl_s": None, "max_keys": 100, **bounds})
    made.logged = True
    return made


async def run(into: Table, *chunks: Sequence[SourceRecord]) -> tuple[int, int, list[int]]:
    left: list[int] = []
    done = await restore(
        into,
        chunked(*chunks),
        topic="in",
        now_ms=60_000,
        progress=lambda chunk: left.append(chunk.end_offset - chunk.next_offset),
    )
    return done.records, done.skipped, left


async def test_the_last_record_of_each_key_counts() -> None:
    into = table()

    records, skipped, left = await run(
        into, [change("a", 1), change("b", 2)], [change("a", 3), change("b", None)]
    )

    assert dict(into.items()) == {"a": 3}
    assert (records, skipped, left) == (4, 0, [2, 0])
    assert into.next_offset == 4
    assert into.clean


async def test_keys_of_another_input_topic_are_left_alone() -> None:
    into = table()

    records, skipped, _ = await run(into, [change("a", 1, topic="other"), change("b", 2)])

    assert dict(into.items()) == {"b": 2}
    assert (records, skipped) == (1, 0)


async def test_records_that_are_no_changes_are_counted_and_skipped() -> None:
    into = table()
    foreign = [
        SourceRecord(b"1"),
        SourceRecord(b"1", key=b"nobody's"),
        SourceRecord(b"1", key=encode_key("in", "") + b"\xff"),
    ]

    assert (await run(into, foreign))[:2] == (0, 3)
    assert dict(into.items()) == {}


async def test_what_expired_while_nobody_owned_it_gets_its_tombstone() -> None:
    into = table(ttl_s=10.0)

    await run(into, [change("old", 1, at_ms=0), change("young", 2, at_ms=55_000)])
    into.sweep()

    assert dict(into.items()) == {"young": 2}
    assert "old" in into.dirty


async def test_a_value_that_was_damaged_by_hand_is_gone_when_it_is_asked_for() -> None:
    into = table()
    broken = SourceRecord(b"{broken", key=encode_key("in", "a"))

    with capture_logs() as logs:
        await run(into, [broken, change("b", 2)])
        found = into.get("a"), into.get("b")

    assert found == (None, 2)
    assert dict(into.items()) == {"b": 2}
    assert into.damaged == 1
    assert [(entry["event"], entry["key"]) for entry in logs] == [
        ("state value cannot be decoded", "a")
    ]
    assert into.clean  # what lies in the changelog is left for people to look at


async def test_a_key_that_changed_again_behind_20_000_others_is_the_youngest() -> None:
    into = table(max_keys=LATEST_MAX + 1)
    others = [change(f"k{number}", number) for number in range(LATEST_MAX)]

    await run(into, [change("a", 1), *others], [change("a", 2), change("k5", None)])

    assert len(into) == LATEST_MAX
    assert next(iter(into.values)) == "k0"
    assert list(into.values)[-1] == "a"
    assert (into.get("a"), into.get("k5")) == (2, None)


async def test_others_have_their_turn_while_many_keys_are_loaded() -> None:
    into = table(max_keys=LATEST_MAX)
    seen: list[int] = []

    async def others() -> None:
        while True:
            seen.append(len(into))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(others())
        await run(into, [change(f"k{number}", number) for number in range(LATEST_MAX)])
        watching.cancel()

    assert len(into) == LATEST_MAX
    assert len(seen) >= LATEST_MAX // LOADED_AT_ONCE


async def test_keys_that_come_before_tombstones_are_not_too_many() -> None:
    into = table(max_keys=LOADED_AT_ONCE)
    await run(into, [change(f"old{number}", 1) for number in range(LOADED_AT_ONCE)])

    await run(
        into,
        [change(f"new{number}", 1) for number in range(LOADED_AT_ONCE)],
        [change(f"old{number}", None) for number in range(LOADED_AT_ONCE)],
    )

    assert sorted(into.values) == sorted(f"new{number}" for number in range(LOADED_AT_ONCE))
    assert into.evicted == 0
