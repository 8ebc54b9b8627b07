import gzip
import zlib
from collections.abc import Callable
from typing import Any

import cramjam
import pytest
from aiokafka import codec
from aiokafka.record import default_records, legacy_records

from service.consumers import kafka_decompress
from service.consumers.kafka_decompress import (
    CODEC_NAMES,
    MAX_DECOMPRESSED_BYTES,
    DecompressedTooLargeError,
    install_bounded_decoders,
)

CODECS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": codec.gzip_encode,
    "snappy": codec.snappy_encode,
    "lz4": codec.lz4_encode,
    "zstd": codec.zstd_encode,
}


def _decoder(name: str) -> Callable[[Any], bytes]:
    decode: Callable[[Any], bytes] = getattr(kafka_decompress, f"{name}_decode")
    return decode


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("size", [0, 1, 1000, 3_000_000])
def test_what_the_client_compresses_comes_out_again(name: str, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]

    assert _decoder(name)(memoryview(CODECS[name](data))) == data


@pytest.mark.parametrize("name", CODECS)
def test_a_bomb_stops_at_the_limit(name: str) -> None:
    bomb = CODECS[name](bytes(MAX_DECOMPRESSED_BYTES + 1))
    assert len(bomb) < MAX_DECOMPRESSED_BYTES // 10

    with pytest.raises(DecompressedTooLargeError):
        _decoder(name)(bomb)


@pytest.mark.parametrize("name", CODECS)
def test_the_limit_itself_is_allowed(name: str) -> None:
    data = bytes(MAX_DECOMPRESSED_BYTES)

    assert len(_decoder(name)(CODECS[name](data))) == MAX_DECOMPRESSED_BYTES


def test_raw_snappy_is_read_too() -> None:
    data = b"abc" * 1000

    assert kafka_decompress.snappy_decode(bytes(cramjam.snappy.compress_raw(data))) == data


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("damage", [b"", b"\x00", b"\xff" * 100, b"rubbish"])
def test_rubbish_raises_and_never_hangs(name: str, damage: bytes) -> None:
    with pytest.raises((ValueError, OSError, zlib.error, cramjam.DecompressionError)):
        _decoder(name)(damage + b"\x01")


def test_a_truncated_gzip_stream_is_an_error() -> None:
    with pytest.raises(ValueError, match="truncated"):
        kafka_decompress.gzip_decode(gzip.compress(b"a" * 1000)[:-5])


def test_the_client_decodes_with_ours_from_then_on() -> None:
    install_bounded_decoders()
    install_bounded_decoders()

    from aiokafka.record._crecords import default_records as compiled  # noqa: PLC0415

    for name in CODEC_NAMES:
        assert getattr(compiled, name) is getattr(kafka_decompress, name)
        assert getattr(default_records, name) is getattr(kafka_decompress, name)
    assert legacy_records.gzip_decode is kafka_decompress.gzip_decode
