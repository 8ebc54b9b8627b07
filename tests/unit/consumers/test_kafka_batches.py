"""Small stored batches that are taken as one: what comes out is what the client makes of each."""

import struct
from typing import Any, NamedTuple

import pytest
from aiokafka import codec as codecs
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record import default_records
from aiokafka.record._crecords import default_records as c_default_records
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from service.consumers import kafka_decompress
from service.consumers.base import CorruptBatchError, Fetched, MixedBatchError
from service.consumers.kafka_batches import RUN_BATCHES, RUN_OFFSETS, Run
from service.consumers.kafka_decompress import CODEC_NAMES
from service.consumers.kafka_tap import PrefetchTap
from tests.unit.consumers.test_kafka_intake import HERE, Reading
from tests.unit.consumers.test_kafka_intake import Client as Answers
from tests.unit.consumers.test_kafka_tap import OURS, PARTITION, Client, batch, control

_CRC_AT, _ATTRIBUTES_AT, _RECORDS_AT = 17, 21, 61


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
)


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
        values = [b"%d" % (offset + index) for index in range(kind.records)]
        parts.append(
            batch(
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


def test_small_batches_side_by_side_are_taken_as_one_up_to_a_bound() -> None:
    client = Client()
    client.fetched(*(batch(offset, [b"x"]) for offset in range(2 * RUN_BATCHES + 1)))

    (fetched,) = PrefetchTap(client).take({OURS})

    assert [stored.next_offset for stored in fetched.batches] == [
        RUN_BATCHES,
        2 * RUN_BATCHES,
        2 * RUN_BATCHES + 1,
    ]


@pytest.mark.parametrize("bounded", [True, False], ids=["our decoders", "the client's"])
@pytest.mark.parametrize("codec", [1, 2, 3, 4], ids=["gzip", "snappy", "lz4", "zstd"])
def test_a_compressed_batch_takes_what_it_unpacks_to(
    codec: int, *, bounded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (default_records, c_default_records):
        for name in CODEC_NAMES:
            decode = getattr(kafka_decompress if bounded else codecs, name)
            monkeypatch.setattr(module, name, decode, raising=False)
    client = Client()
    client.fetched(batch(0, [b"v" * 10_000] * 3, codec=codec), batch(3, [b"w"] * 2, codec=codec))

    (fetched,) = PrefetchTap(client).take({OURS})
    large, small = fetched.batches
    for stored in (large, small):
        assert len(stored.decode()) == stored.next_offset - stored.first_offset

    assert 30_000 <= large.size_bytes <= 31_000
    assert 2 <= small.size_bytes <= 100


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
    assert isinstance(run, Run)
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
