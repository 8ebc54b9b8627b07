"""Markers of transactions, and what compaction leaves of them."""

import struct
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from service.consumers.kafka_abort_markers import is_abort, read_on_behind_empty_markers
from service.consumers.kafka_tap import PrefetchTap, make_tap
from tests.unit.consumers.test_kafka_tap import OURS, PARTITION, Client, batch, control

_LENGTH_AT, _CRC_AT, _ATTRIBUTES_AT, _COUNT_AT, _RECORDS_AT = 8, 17, 21, 57, 61
_LENGTH_COVERS_FROM = 12


def emptied(marker: bytes) -> bytes:
    """What the broker's cleaner leaves of a batch that tells of its producer's epoch."""
    data = bytearray(marker[:_RECORDS_AT])
    struct.pack_into(">i", data, _LENGTH_AT, len(data) - _LENGTH_COVERS_FROM)
    struct.pack_into(">i", data, _COUNT_AT, 0)
    struct.pack_into(">I", data, _CRC_AT, calc_crc32c(bytes(data[_ATTRIBUTES_AT:])))
    return bytes(data)


EMPTIED = emptied(control(4, producer_id=8, abort=True))


@pytest.mark.parametrize(
    ("marker", "says"),
    [
        pytest.param(control(4, producer_id=8, abort=True), True, id="aborted"),
        pytest.param(control(4, producer_id=8, abort=False), False, id="committed"),
        pytest.param(EMPTIED, False, id="emptied"),
    ],
)
def test_a_marker_says_how_its_transaction_ended_or_nothing(marker: bytes, *, says: bool) -> None:
    assert is_abort(MemoryRecords(marker).next_batch()) is says


def test_an_emptied_marker_beside_an_aborted_transaction_stops_nothing() -> None:
    client = Client()
    client.fetched(
        batch(0, [b"a"]),
        batch(1, [b"aborted"], producer_id=7, transactional=True),
        EMPTIED,
        batch(5, [b"aborted"], producer_id=7, transactional=True),
        control(6, producer_id=7, abort=True),
        batch(7, [b"b"], producer_id=7, transactional=True),
        aborted=[(7, 1)],
    )

    (fetched,) = PrefetchTap(client).take({OURS})

    values = [record.value for stored in fetched.batches for record in stored.decode()]
    assert values == [b"a", b"b"]
    assert client.position == 8


def test_the_client_reads_on_behind_an_emptied_marker_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "_contains_abort_marker"
    monkeypatch.setattr(PartitionRecords, name, getattr(PartitionRecords, name))

    read_on_behind_empty_markers()

    log = MemoryRecords(batch(3, [b"a"]) + EMPTIED + batch(5, [b"b"]))
    read = PartitionRecords(
        PARTITION, log, [], 3, None, None, True, READ_COMMITTED,  # noqa: FBT003 -- the client's own
    )  # fmt: skip
    assert [record.value for record in read] == [b"a", b"b"]
    assert read.next_fetch_offset == 6


def test_whoever_reads_by_a_tap_reads_on_behind_them(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "_contains_abort_marker"
    monkeypatch.setattr(PartitionRecords, name, None)
    consumer: Any = SimpleNamespace()

    make_tap(consumer)

    marker = MemoryRecords(EMPTIED).next_batch()
    assert getattr(PartitionRecords, name)(None, marker) is False
