"""Bounds what one compressed batch may expand to.

The client's decoders have no limit: a batch of some kilobytes can unpack to gigabytes and take
the pod with it.  :func:`install_bounded_decoders` puts decoders with a limit into the module that
calls them; a batch that exceeds it raises and is treated like any other undecodable batch.  The
names that are replaced are pinned by a test.
"""

import struct
import zlib
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import cramjam
from aiokafka.record import default_records, legacy_records

try:
    from aiokafka.record._crecords import default_records as c_default_records
    from aiokafka.record._crecords import legacy_records as c_legacy_records
except ImportError:  # the client was built without its extension
    c_default_records = default_records
    c_legacy_records = legacy_records

MAX_DECOMPRESSED_BYTES: Final = 32 * 1024 * 1024
"""Largest batch after decompression; brokers accept 1 MiB before it by default."""

CODEC_NAMES: Final = ("gzip_decode", "snappy_decode", "lz4_decode", "zstd_decode")
"""Module globals of the client's record decoders that are replaced."""

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16
_FIRST_GUESS: Final = 8


class _Decoded:
    """How many bytes the decoders of this process have made, ever."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


_DECODED: Final = _Decoded()


def decoded_bytes() -> int:
    """How many bytes the decoders have made, ever; what one batch takes is a difference of two."""
    return _DECODED.bytes


class DecompressedTooLargeError(ValueError):
    """A compressed batch expands beyond :data:`MAX_DECOMPRESSED_BYTES`."""

    def __init__(self) -> None:
        super().__init__(f"a batch expands beyond {MAX_DECOMPRESSED_BYTES} bytes")


def _counted(decode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    @wraps(decode)
    def counted(payload: Any) -> bytes:
        decoded = decode(payload)
        _DECODED.bytes += len(decoded)
        return decoded

    return counted


@_counted
def gzip_decode(payload: Any) -> bytes:
    """Decode gzip, stopping at the limit."""
    decoder = zlib.decompressobj(wbits=_GZIP_WINDOW)
    decoded = decoder.decompress(bytes(payload), MAX_DECOMPRESSED_BYTES + 1)
    if len(decoded) > MAX_DECOMPRESSED_BYTES:
        raise DecompressedTooLargeError
    if not decoder.eof:
        raise ValueError("a truncated gzip stream")
    return decoded


@_counted
def lz4_decode(payload: Any) -> bytes:
    """Decode an LZ4 frame, stopping at the limit."""
    return _decode_growing(cramjam.lz4.decompress_into, payload)


@_counted
def zstd_decode(payload: Any) -> bytes:
    """Decode Zstandard, stopping at the limit."""
    return _decode_growing(cramjam.zstd.decompress_into, payload)


@_counted
def snappy_decode(payload: Any) -> bytes:
    """Decode Snappy, raw or in the block framing of the Java library, stopping at the limit."""
    data = bytes(payload)
    blocks = [data]
    if data[: len(_XERIAL_MAGIC)] == _XERIAL_MAGIC:
        blocks = _xerial_blocks(data)
    # a snappy block names its decoded size up front
    if sum(map(cramjam.snappy.decompress_raw_len, blocks)) > MAX_DECOMPRESSED_BYTES:
        raise DecompressedTooLargeError
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


def _xerial_blocks(data: bytes) -> list[bytes]:
    blocks: list[bytes] = []
    start = _XERIAL_HEADER_BYTES
    while start < len(data):
        (size,) = struct.unpack_from(">i", data, start)
        if size < 0:
            raise ValueError("a snappy block of negative size")
        blocks.append(data[start + 4 : start + 4 + size])
        start += 4 + size
    return blocks


def _decode_growing(decode_into: Callable[[bytes, bytearray], int], payload: Any) -> bytes:
    """Decode into a buffer that grows up to the limit; the decoder refuses to overrun it."""
    data = bytes(payload)
    room = min(MAX_DECOMPRESSED_BYTES, max(64 * 1024, _FIRST_GUESS * len(data)))
    while True:
        buffer = bytearray(room)
        try:
            return bytes(memoryview(buffer)[: decode_into(data, buffer)])
        except cramjam.DecompressionError as exc:
            if room == MAX_DECOMPRESSED_BYTES:
                raise DecompressedTooLargeError from exc
            room = min(MAX_DECOMPRESSED_BYTES, room * 4)


def install_bounded_decoders() -> None:
    """Replace the client's decoders; idempotent."""
    for module in (default_records, legacy_records, c_default_records, c_legacy_records):
        for name in CODEC_NAMES:
            if hasattr(module, name):
                setattr(module, name, globals()[name])
