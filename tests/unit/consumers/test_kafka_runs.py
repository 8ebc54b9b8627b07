"""Stored batches taken by their headers: what comes out is what the client makes of each."""

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from service.consumers import kafka_runs, kafka_tap
from service.consumers.base import CorruptBatchError, Fetched, MixedBatchError, StoredBatch
from service.consumers.kafka_batches import Batch
from service.consumers.kafka_checksum import StoredBatches
from service.consumers.kafka_runs import (
    RUN_BATCH_BYTES,
    RUN_BATCHES,
    RUN_OFFSETS,
    StoredRun,
    take_whole,
)
from service.consumers.kafka_tap import PrefetchTap
from tests.unit.consumers.test_kafka_intake import HERE, Reading
from tests.unit.consumers.test_kafka_intake import Client as Answers
from tests.unit.consumers.test_kafka_tap import END, OURS, PARTITION, Client, batch, control

_LENGTH_AT, _MAGIC_AT, _CRC_AT, _ATTRIBUTES_AT, _RECORDS_AT = 8, 16, 17, 21, 61
_LOG_APPEND_TIME = 0x08
_NEW_MAGIC = 2


class Kind(NamedTuple):
    """One stored batch of a log."""

    records: int
    codec: int = 0
    producer_id: int = -1
    transactional: bool = False
    marker: bool | None = None
    """Of a transaction that was aborted (true) or committed."""
    gap: int = 0
    """Offsets before it that compaction has taken."""
    padding: int = 0
    """Bytes by which its values are longer."""
    magic: int = 2


FEW = st.integers(1, 3)
PRODUCERS = st.integers(7, 8)
SMALL = st.tuples(FEW, st.sampled_from([0, 0, 0, 5])).map(lambda what: Kind(what[0], gap=what[1]))
KINDS = st.one_of(
    SMALL,
    SMALL,
    st.tuples(FEW, st.integers(0, 4)).map(lambda what: Kind(*what)),
    st.tuples(PRODUCERS, st.booleans()).map(lambda what: Kind(1, 0, *what)),
    st.tuples(PRODUCERS, st.booleans()).map(lambda what: Kind(1, 0, what[0], marker=what[1])),
    st.just(Kind(RUN_OFFSETS)),
    st.just(Kind(1, padding=RUN_BATCH_BYTES)),
)
OLD = st.integers(0, 1).map(lambda magic: Kind(1, magic=magic))


def old_batch(offset: int, values: list[bytes], *, magic: int) -> bytes:
    """In a format of before transactions: each record by itself."""
    builder = LegacyRecordBatchBuilder(magic, 0, 1 << 20)
    for index, value in enumerate(values):
        builder.append(offset + index, 1_000, b"key", value)
    return bytes(builder.build())


def with_attributes(data: bytes, attributes: int) -> bytes:
    """The same batch with other attributes, and the checksum that goes with them."""
    changed = bytearray(data)
    struct.pack_into(">h", changed, _ATTRIBUTES_AT, attributes)
    struct.pack_into(">I", changed, _CRC_AT, calc_crc32c(bytes(changed[_ATTRIBUTES_AT:])))
    return bytes(changed)


def log_of(kinds: list[Kind]) -> tuple[bytes, list[tuple[int, int]], int]:
    """Its bytes, the aborted transactions (producer and first offset), and its end."""
    first: dict[int, int] = {}
    parts, aborted, offset = [], [], 0
    for kind in kinds:
        offset += kind.gap
        if kind.marker is not None:
            began = first.pop(kind.producer_id, None)
            if kind.marker and began is not None:
                aborted.append((kind.producer_id, began))
            parts.append(control(offset, producer_id=kind.producer_id, abort=kind.marker))
            offset += 1
            continue
        if kind.transactional:
            first.setdefault(kind.producer_id, offset)
        values = [b"%d" % (offset + index) + bytes(kind.padding) for index in range(kind.records)]
        parts.append(
            old_batch(offset, values, magic=kind.magic)
            if kind.magic < _NEW_MAGIC
            else batch(
                offset,
                values,
                codec=kind.codec,
                producer_id=kind.producer_id,
                transactional=kind.transactional,
            )
        )
        offset += kind.records
    return b"".join(parts), aborted, offset


def as_the_client_reads(
    data: bytes, aborted: list[tuple[int, int]], position: int
) -> list[tuple[int, bytes]]:
    checked, isolated = True, READ_COMMITTED
    source = PartitionRecords(
        PARTITION, MemoryRecords(data), list(aborted), position, None, None, checked, isolated
    )
    return [(record.offset, record.value) for record in source]


@given(kinds=st.lists(KINDS, min_size=1, max_size=30), data=st.data())
def test_any_log_is_read_as_the_client_reads_it(kinds: list[Kind], data: st.DataObject) -> None:
    log, aborted, end = log_of(kinds)
    position = data.draw(st.integers(0, kinds[0].gap + kinds[0].records - 1))
    client = Client()
    client.fetched(log, position=position, aborted=list(aborted), end=end)

    (fetched,) = PrefetchTap(client).take({OURS})
    records = [record for stored in fetched.batches for record in stored.decode()]

    assert [
        (record.offset, record.value) for record in records if record.offset >= position
    ] == as_the_client_reads(log, aborted, position)
    assert client.position == end
    for before, after in zip(fetched.batches, fetched.batches[1:], strict=False):
        assert before.first_offset < before.next_offset <= after.first_offset


class Span(NamedTuple):
    """Offsets that were given up."""

    first_offset: int
    next_offset: int
    reason: str


def seen_of(record: Any) -> tuple[Any, ...]:
    """All that a record of the client tells."""
    names = ("offset", "timestamp", "timestamp_type", "key", "value", "headers", "checksum")
    return (type(record), *(getattr(record, name, None) for name in names))


def contents(batches: Iterable[StoredBatch]) -> Iterator[Any]:
    """What is in ``batches``, records and spans."""
    for stored in batches:
        try:
            yield from map(seen_of, stored.decode())
        except MixedBatchError as exc:
            yield from contents(exc.parts)
        except CorruptBatchError as exc:
            kind = exc.reason.split("(")[0]  # its words may quote bytes of behind the batch
            yield Span(exc.first_offset, exc.next_offset, kind)


def read_twice(data: bytes, aborted: list[tuple[int, int]], end: int) -> list[Any]:
    """What comes out of an answer that is fetched twice, so that damage is believed."""
    client = Client()
    tap = PrefetchTap(client)
    seen: list[Any] = []
    for _ in range(2):
        client.fetched(data, position=client.position, aborted=list(aborted), end=end)
        try:
            for fetched in tap.take({OURS}):
                seen += contents(fetched.batches)
        except Exception as exc:  # noqa: BLE001 -- a marker that is whole and none
            seen.append(repr(exc))
        seen.append(client.position)
    return seen


def assert_as_the_client_has_it(data: bytes, aborted: list[tuple[int, int]], end: int) -> list[Any]:
    """Read an answer by headers and by the client's objects alone; what has come out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka_tap, "take_whole", lambda *_: [])
        theirs = read_twice(data, aborted, end)
    ours = read_twice(data, aborted, end)
    assert ours == theirs
    return ours


def starts_of(log: bytes) -> list[int]:
    """Where its batches begin."""
    starts, at = [], 0
    while at < len(log):
        starts.append(at)
        (length,) = struct.unpack_from(">i", log, at + _LENGTH_AT)
        at += 12 + length
    return starts


Damage = Callable[[bytearray, int, int], None]
"""Does something to the batch of a log from here to there."""


def flipped(where: int, bit: int) -> Damage:
    def damage(log: bytearray, start: int, stop: int) -> None:
        log[start + where % (stop - start)] ^= 1 << bit

    return damage


def with_length(length: int, *, relative: bool) -> Damage:
    def damage(log: bytearray, start: int, stop: int) -> None:
        length_was = stop - start - 12 if relative else 0
        struct.pack_into(">i", log, start + _LENGTH_AT, length_was + length)

    return damage


def with_magic(magic: int) -> Damage:
    def damage(log: bytearray, start: int, stop: int) -> None:
        del stop
        log[start + _MAGIC_AT] = magic

    return damage


def forged(where: int, value: int) -> Damage:
    """Another byte, and the checksum that goes with it."""

    def damage(log: bytearray, start: int, stop: int) -> None:
        if stop - start > _RECORDS_AT and log[start + _MAGIC_AT] == _NEW_MAGIC:
            covered = stop - start - _ATTRIBUTES_AT
            log[start + _ATTRIBUTES_AT + where % covered] = value
            checksum = calc_crc32c(bytes(log[start + _ATTRIBUTES_AT : stop]))
            struct.pack_into(">I", log, start + _CRC_AT, checksum)

    return damage


BYTES = st.integers(0, 255)
DAMAGES = st.one_of(
    st.builds(flipped, st.integers(0, _RECORDS_AT) | st.integers(0, 10_000), st.integers(0, 7)),
    st.builds(with_length, st.integers(-80, 400), relative=st.booleans()),
    st.builds(with_length, st.integers(-(2**31), 2**31 - 1), relative=st.just(value=False)),
    st.builds(with_magic, BYTES | st.integers(0, 3)),
    st.builds(forged, st.integers(0, _RECORDS_AT) | st.integers(0, 10_000), BYTES),
)


@given(
    kinds=st.lists(KINDS | OLD, min_size=1, max_size=12),
    damages=st.lists(st.tuples(st.integers(0, 11), DAMAGES), max_size=3),
    cut=st.just(0) | st.integers(0, 200),
)
def test_whatever_is_fetched_gets_the_verdict_of_the_client(
    kinds: list[Kind], damages: list[tuple[int, Damage]], cut: int
) -> None:
    log, aborted, end = log_of(kinds)
    starts = starts_of(log)
    bounds = list(zip(starts, [*starts[1:], len(log)], strict=True))
    data = bytearray(log)
    for place, damage in damages:
        damage(data, *bounds[place % len(bounds)])

    assert_as_the_client_has_it(bytes(data[: len(data) - cut]), aborted, end)


def test_a_changed_bit_gets_the_verdict_of_the_client_wherever_it_is() -> None:
    log = batch(0, [b"a", b"b"]) + batch(2, [b"c"], producer_id=7) + batch(3, [b"d"])

    for place in range(8 * len(log)):
        data = bytearray(log)
        data[place // 8] ^= 1 << place % 8
        assert_as_the_client_has_it(bytes(data), [], 4)


def test_an_answer_that_is_cut_off_is_read_up_to_there_wherever_that_is() -> None:
    log = batch(0, [b"a", b"b"]) + batch(2, [b"c"])
    whole = len(batch(0, [b"a", b"b"]))

    for size in range(whole, len(log)):
        assert assert_as_the_client_has_it(log[:size], [], 3)[-1] == 2


RECORDS = st.lists(
    st.tuples(
        st.integers(0, 2**41),
        st.none() | st.binary(max_size=20),
        st.none() | st.binary(max_size=300),
        st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=9)), max_size=3),
    ),
    min_size=1,
    max_size=4,
)


@given(
    stored=st.lists(st.tuples(RECORDS, st.booleans(), st.integers(0, 3)), min_size=1, max_size=20)
)
def test_records_are_those_of_the_client_with_all_that_they_tell(
    stored: list[tuple[list[Any], bool, int]],
) -> None:
    parts, offset = [], 0
    for records, appended, gap in stored:
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
        offset += gap
        for index, record in enumerate(records):
            builder.append(index, *record)
        data = with_attributes(bytes(builder.build()), _LOG_APPEND_TIME * appended)
        parts.append(struct.pack(">q", offset) + data[8:])
        offset += len(records)
    log = b"".join(parts)

    batches = taken(log).batches

    theirs = iter(MemoryRecords(log).next_batch, None)
    assert [*contents(batches)] == [seen_of(record) for raw in theirs for record in raw]


def test_what_is_whole_is_taken_without_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoredBatches, "next_batch", None)
    log = (
        batch(0, [b"a"]),
        batch(1, [b"b"], codec=1),
        batch(2, [b"c"], producer_id=7, transactional=True),
        control(3, producer_id=7, abort=False),
        batch(4, [b"d" * RUN_BATCH_BYTES]),
        batch(5, [b"e"]),
    )

    batches = taken(*log).batches

    assert [(record.value or b"")[:1] for stored in batches for record in stored.decode()] == [
        b"a",
        b"b",
        b"c",
        b"d",
        b"e",
    ]
    assert [type(stored) for stored in batches] == [
        StoredRun,
        Batch,
        StoredRun,
        Batch,
        Batch,
        StoredRun,
    ]


def replaced(data: bytes, at: int, part: bytes) -> bytes:
    return data[:at] + part + data[at + len(part) :]


def short_batch(offset: int) -> bytes:
    """One with the right checksum that ends within its header, and bytes behind it."""
    data = batch(offset, [b"b"])
    covered = data[_ATTRIBUTES_AT : _RECORDS_AT - 1]
    data = replaced(data, _CRC_AT, struct.pack(">I", calc_crc32c(covered)))
    return replaced(data, _LENGTH_AT, struct.pack(">i", _RECORDS_AT - 1 - 12))


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(old_batch(1, [b"b"], magic=1), id="an old format"),
        pytest.param(replaced(batch(1, [b"b"]), _MAGIC_AT, b"\x03"), id="a later format"),
        pytest.param(short_batch(1), id="no room for a header"),
        pytest.param(batch(1, [b"b"])[:-1] + b"?", id="a wrong checksum"),
        pytest.param(batch(0, [b"b"]), id="an offset that was before"),
        pytest.param(batch(END, [b"b"]), id="an offset outside of the log"),
        pytest.param(batch(1, [b"b"])[:-1], id="less than a whole one"),
        pytest.param(batch(1, [b"b"])[:_RECORDS_AT], id="less than a header and its records"),
    ],
)
def test_what_is_not_whole_is_left_to_the_client(odd: bytes) -> None:
    stored = StoredBatches(batch(0, [b"a"]) + odd)

    (run,) = take_whole(OURS, stored, 0, END)

    assert (run.first_offset, run.next_offset) == (0, 1)
    assert stored.at == len(batch(0, [b"a"]))
    assert take_whole(OURS, stored, 1, END) == []


def test_after_an_old_format_the_client_decides_about_the_whole_answer() -> None:
    stored = StoredBatches(old_batch(0, [b"a"], magic=1) + batch(1, [b"b"]))
    stored.next_batch()

    assert take_whole(OURS, stored, 1, END) == []


def test_without_the_extension_checksums_are_computed_as_the_client_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_runs, "checksum_of", calc_crc32c)
    wrong = batch(1, [b"b"])[:-1] + b"?"

    (run,) = take_whole(OURS, StoredBatches(batch(0, [b"a"]) + wrong), 0, END)

    assert [record.value for record in run.decode()] == [b"a"]


def test_small_batches_side_by_side_are_taken_as_one_up_to_a_bound() -> None:
    batches = taken(*(batch(offset, [b"x"]) for offset in range(2 * RUN_BATCHES + 1))).batches

    assert [stored.next_offset for stored in batches] == [
        RUN_BATCHES,
        2 * RUN_BATCHES,
        2 * RUN_BATCHES + 1,
    ]


def test_a_run_ends_when_it_covers_enough_offsets() -> None:
    half = [b"x"] * (RUN_OFFSETS // 2)
    starts = range(0, 3 * len(half), len(half))

    batches = taken(*(batch(offset, half) for offset in starts)).batches

    assert [stored.next_offset for stored in batches] == [RUN_OFFSETS, 3 * len(half)]


def undecodable(offset: int) -> bytes:
    """A batch of two records whose checksum is right, and whose second record is none."""
    data = bytearray(batch(offset, [b"seen", b"y" * 20]))
    data[-15:] = b"\xff" * 15
    data[_RECORDS_AT + 16] = 0xFF
    struct.pack_into(">I", data, _CRC_AT, calc_crc32c(bytes(data[_ATTRIBUTES_AT:])))
    return bytes(data)


def taken(*batches: bytes) -> Fetched:
    client = Client()
    client.fetched(*batches)
    (fetched,) = PrefetchTap(client).take({OURS})
    return fetched


@pytest.mark.parametrize("place", [0, 1, 4])
def test_a_batch_that_cannot_be_decoded_does_not_take_its_run_with_it(place: int) -> None:
    offsets = range(0, 10, 2)
    batches = [batch(offset, [b"%d" % offset, b"+"]) for offset in offsets]
    batches[place] = undecodable(2 * place)

    (run,) = taken(*batches).batches
    assert isinstance(run, StoredRun)
    with pytest.raises(MixedBatchError) as caught:
        run.decode()

    values: list[Any] = []
    for part in caught.value.parts:
        try:
            values += [record.value for record in part.decode()]
        except CorruptBatchError as exc:
            values.append((exc.first_offset, exc.next_offset))
        else:
            assert part.size_bytes > 0
    expected: list[Any] = [value for offset in offsets for value in (b"%d" % offset, b"+")]
    expected[2 * place : 2 * place + 2] = [(2 * place, 2 * place + 2)]
    assert values == expected


async def test_the_intake_tells_of_the_one_that_cannot_be_decoded_and_sends_the_rest() -> None:
    batches = taken(batch(0, [b"a", b"+"]), undecodable(2), batch(4, [b"c", b"+"])).batches
    reading = Reading(Answers(Fetched(HERE, 1, batches)), max_bytes=10_000_000)
    told: list[tuple[int, int]] = []

    async def corrupt(held: Any, error: CorruptBatchError, inbox: Any) -> bool:
        del held, inbox
        told.append((error.first_offset, error.next_offset))
        return True

    reading.intake._corrupt = corrupt  # type: ignore[method-assign]

    await reading.run(1.0)

    assert reading.sent == [(HERE, 1), (HERE, 4), (HERE, 5)]
    assert told == [(2, 4)]
