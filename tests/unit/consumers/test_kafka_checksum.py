"""Checksums of stored batches: the same verdict as the client's, whoever computes it."""

import struct

import pytest
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from service.consumers import kafka_checksum
from service.consumers.kafka_checksum import MIN_BYTES, StoredBatches, is_whole, remember_bytes
from tests.unit.consumers.test_kafka_tap import batch

SIZES = st.lists(st.integers(0, 3 * MIN_BYTES), min_size=1, max_size=4)


@given(sizes=SIZES)
def test_batches_are_cut_as_the_client_cuts_them(sizes: list[int]) -> None:
    data = b"".join(batch(10 * at, [b"x" * size]) for at, size in enumerate(sizes))
    stored, theirs = StoredBatches(data), MemoryRecords(data)
    for size in sizes:
        ours, their = stored.next_batch(), theirs.next_batch()
        assert (ours.base_offset, ours.crc) == (their.base_offset, their.crc)
        assert size < MIN_BYTES or stored.is_whole(ours)
        assert is_whole(stored, ours)
    assert stored.next_batch() is None


@given(sizes=SIZES, passed=st.integers(0, 3), data=st.data())
def test_what_the_caller_has_passed_over_is_not_cut_again(
    sizes: list[int], passed: int, data: st.DataObject
) -> None:
    batches = [batch(10 * at, [b"x" * size]) for at, size in enumerate(sizes)]
    stored = StoredBatches(b"".join(batches))
    first = data.draw(st.integers(0, len(batches)))
    passed = min(passed, len(batches) - first)
    for _ in range(first):
        stored.next_batch()

    stored.skip(passed, sum(map(len, batches[: first + passed])))

    for at in range(first + passed, len(batches)):
        assert stored.has_next()
        ours = stored.next_batch()
        assert ours.base_offset == 10 * at
        assert is_whole(stored, ours)
    assert not stored.has_next()
    assert stored.next_batch() is None


@given(cut=st.integers(0, 200), length=st.integers(-(2**31), 2**31 - 1) | st.integers(-20, 80))
def test_there_is_another_batch_where_the_client_says_so(cut: int, length: int) -> None:
    whole = batch(0, [b"x"])
    data = (whole + whole[:8] + struct.pack(">i", length) + whole[12:])[: len(whole) + cut]
    stored, theirs = StoredBatches(data), MemoryRecords(data)

    assert stored.has_next() == theirs.has_next()
    stored.next_batch()
    theirs.next_batch()
    assert stored.has_next() == theirs.has_next()


@given(sizes=SIZES, data=st.data())
def test_a_changed_bit_is_found_wherever_the_client_finds_it(
    sizes: list[int], data: st.DataObject
) -> None:
    whole = b"".join(batch(10 * at, [b"x" * size]) for at, size in enumerate(sizes))
    at = data.draw(st.integers(0, len(whole) - 1) | st.integers(0, 30))
    damaged = bytearray(whole)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    stored, theirs = StoredBatches(bytes(damaged)), MemoryRecords(bytes(damaged))
    while True:
        try:
            their = theirs.next_batch()
        except Exception:  # noqa: BLE001 -- a length that is none
            with pytest.raises(Exception):  # noqa: B017, PT011 -- the same as above
                stored.next_batch()
            return
        ours = stored.next_batch()
        if their is None:
            assert ours is None
            return
        try:
            right = their.validate_crc()
        except Exception:  # noqa: BLE001 -- too short for its format
            with pytest.raises(Exception):  # noqa: B017, PT011
                is_whole(stored, ours)
        else:
            assert is_whole(stored, ours) == right


def test_the_client_is_not_asked_about_what_is_right() -> None:
    stored = StoredBatches(batch(0, [b"x" * MIN_BYTES]))
    assert stored.is_whole(stored.next_batch())


def test_a_wrong_checksum_is_not_right_for_either() -> None:
    data = bytearray(batch(0, [b"x" * MIN_BYTES]))
    data[-1] ^= 1
    stored = StoredBatches(bytes(data))
    assert not is_whole(stored, stored.next_batch())


@pytest.mark.parametrize("magic", [0, 1])
def test_old_formats_are_left_to_the_client(magic: int) -> None:
    builder = LegacyRecordBatchBuilder(magic, 0, 10 * MIN_BYTES)
    builder.append(0, 1_700_000_000_000, None, b"x" * 2 * MIN_BYTES)
    stored = StoredBatches(bytes(builder.build()))
    raw = stored.next_batch()
    assert is_whole(stored, raw)
    assert not stored.is_whole(raw)


def test_without_the_extension_the_client_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_checksum, "crc32c", None)
    stored = StoredBatches(batch(0, [b"x" * MIN_BYTES]))
    raw = stored.next_batch()
    assert not stored.is_whole(raw)
    assert is_whole(stored, raw)


def test_the_clients_own_cutter_will_do() -> None:
    stored = MemoryRecords(batch(0, [b"x" * MIN_BYTES]))
    assert is_whole(stored, stored.next_batch())


def test_the_client_cuts_by_a_name_that_can_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "MemoryRecords" in Fetcher._proc_fetch_request.__code__.co_names
    monkeypatch.setattr(fetcher, "MemoryRecords", MemoryRecords)
    remember_bytes()
    assert fetcher.MemoryRecords is StoredBatches
    remember_bytes()
    assert fetcher.MemoryRecords is StoredBatches


def test_what_somebody_else_has_put_there_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "MemoryRecords", object)
    remember_bytes()
    assert fetcher.MemoryRecords is object
