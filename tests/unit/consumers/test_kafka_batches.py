"""Stored batches of the client: what they take, and what cannot be decoded."""

import pytest
from aiokafka import codec as codecs
from aiokafka.record import default_records
from aiokafka.record._crecords import default_records as c_default_records
from aiokafka.record.memory_records import MemoryRecords

from service.consumers import kafka_decompress
from service.consumers.base import CorruptBatchError
from service.consumers.kafka_batches import Batch, Decoded
from service.consumers.kafka_decompress import CODEC_NAMES
from tests.unit.consumers.test_kafka_tap import OURS, batch


def stored_batch(data: bytes) -> Batch:
    raw = MemoryRecords(data).next_batch()
    return Batch(OURS, raw, raw.base_offset, raw.next_offset)


@pytest.mark.parametrize("bounded", [True, False], ids=["our decoders", "the client's"])
@pytest.mark.parametrize("codec", [1, 2, 3, 4], ids=["gzip", "snappy", "lz4", "zstd"])
def test_a_compressed_batch_takes_what_it_unpacks_to(
    codec: int, *, bounded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (default_records, c_default_records):
        for name in CODEC_NAMES:
            decode = getattr(kafka_decompress if bounded else codecs, name)
            monkeypatch.setattr(module, name, decode, raising=False)
    large = stored_batch(batch(0, [b"v" * 10_000] * 3, codec=codec))
    small = stored_batch(batch(3, [b"w"] * 2, codec=codec))

    for stored in (large, small):
        assert len(stored.decode()) == stored.next_offset - stored.first_offset

    assert 30_000 <= large.size_bytes <= 31_000
    assert 2 <= small.size_bytes <= 100


def test_a_batch_without_records_only_covers_offsets() -> None:
    assert list(Batch(OURS, None, 5, 7).decode()) == []


def test_a_damaged_batch_says_what_was_found() -> None:
    with pytest.raises(CorruptBatchError) as caught:
        Batch(OURS, None, 5, 7, "checksum differs").decode()

    error = caught.value
    assert (error.first_offset, error.next_offset) == (5, 7)
    assert error.reason == "checksum differs"


def test_a_batch_that_cannot_be_decoded_is_corrupt() -> None:
    data = bytearray(batch(5, [b"a", b"b"], codec=1))
    data[-20:] = bytes(20)

    with pytest.raises(CorruptBatchError) as caught:
        stored_batch(bytes(data)).decode()

    assert (caught.value.first_offset, caught.value.next_offset) == (5, 7)


def test_decoded_records_know_what_they_cover() -> None:
    records = stored_batch(batch(5, [b"a", b"b"])).decode()

    decoded = Decoded(records)

    assert (decoded.first_offset, decoded.next_offset) == (5, 7)
    assert decoded.size_bytes == 2 * len(b"key" + b"a")
    assert decoded.decode() is records
