from collections.abc import AsyncIterator, Sequence
from typing import Any

from service.events import SourceRecord
from service.state.records import encode_key, encode_value
from service.state.restore import Chunk, restore
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
        decode=lambda value: value,
        now_ms=60_000,
        progress=lambda chunk: left.append(chunk.end_offset - chunk.next_offset),
    )
    return done.records, done.skipped, left


async def test_the_last_record_of_each_key_counts() -> None:
    into = table()

    records, skipped, left = await run(
        into, [change("a", 1), change("b", 2)], [change("a", 3), change("b", None)]
    )

    assert into.values == {"a": 3}
    assert (records, skipped, left) == (4, 0, [2, 0])
    assert into.next_offset == 4
    assert into.clean


async def test_keys_of_another_input_topic_are_left_alone() -> None:
    into = table()

    records, skipped, _ = await run(into, [change("a", 1, topic="other"), change("b", 2)])

    assert into.values == {"b": 2}
    assert (records, skipped) == (1, 0)


async def test_records_that_are_no_changes_are_counted_and_skipped() -> None:
    into = table()
    foreign = [
        SourceRecord(b"1"),
        SourceRecord(b"1", key=b"nobody's"),
        SourceRecord(b"{broken", key=encode_key("in", "a")),
    ]

    assert (await run(into, foreign))[:2] == (0, 3)
    assert into.values == {}


async def test_what_expired_while_nobody_owned_it_gets_its_tombstone() -> None:
    into = table(ttl_s=10.0)

    await run(into, [change("old", 1, at_ms=0), change("young", 2, at_ms=55_000)])
    into.sweep()

    assert into.values == {"young": 2}
    assert "old" in into.dirty
