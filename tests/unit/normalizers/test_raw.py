from service.events import Failure, SourceRecord
from service.normalizers import TOMBSTONE, Limits, RawNormalizer


def test_bytes_come_out_as_they_are_unless_there_are_too_many() -> None:
    small = RawNormalizer(Limits(max_value_bytes=3))

    same, null, large = small.decode_many(
        [SourceRecord(b"\xff\x00"), SourceRecord(None), SourceRecord(b"1234")]
    )

    assert (same, null) == (b"\xff\x00", TOMBSTONE)
    assert isinstance(large, Failure)
    assert large.code == "too_large"
