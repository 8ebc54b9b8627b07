"""Kafka's hash of keys, of many at once.

The hash is MurmurHash2 with 32 bits (Austin Appleby), with the seed of Kafka's Java client
(``org.apache.kafka.common.utils.Utils.murmur2``).  In Python one key takes microseconds, a UUID
more than all the rest of its record.  Here the words of many keys lie side by side in one large
integer, 64 bits for each, so that one multiplication is that of all: a product of two 32-bit
numbers stays in its lane.  What a key costs is then its share of a few loops in C.
"""

import sys
from array import array
from collections.abc import Sequence
from typing import Final

from aiokafka.partitioner import murmur2

LANES: Final = 512
"""Keys that are hashed at once: some 4 KiB of integer, so that all of it stays in the cache."""
FEW: Final = 4
"""Below this many keys of a length one after the other is quicker."""

_M: Final = 0x5BD1E995
_SEED: Final = 0x9747B28C
_WORD: Final = 4
_LANE_BITS: Final = 64
_ONES: Final = int.from_bytes(b"\1\0\0\0\0\0\0\0" * LANES, "little")
_LOW_32: Final = 0xFFFFFFFF * _ONES
_LOW_19: Final = 0x7FFFF * _ONES
_LOW_17: Final = 0x1FFFF * _ONES
_LOW_8: Final = 0xFF * _ONES


def murmur2_of(keys: Sequence[bytes]) -> list[int]:
    """The hash of each of ``keys``, each below 2**32."""
    lengths = list(map(len, keys))
    of_length = set(lengths)
    if len(of_length) == 1:
        return _of_one_length(keys, lengths[0])
    hashes = [0] * len(keys)
    for length in of_length:
        places = [place for place, each in enumerate(lengths) if each == length]
        found = _of_one_length([keys[place] for place in places], length)
        for place, value in zip(places, found, strict=True):
            hashes[place] = value
    return hashes


def _of_one_length(keys: Sequence[bytes], length: int) -> list[int]:
    if len(keys) < FEW or length == 0 or sys.byteorder != "little":
        return list(map(murmur2, keys))
    hashes: list[int] = []
    for start in range(0, len(keys), LANES):
        hashes += _side_by_side(keys[start : start + LANES], length)
    return hashes


def _side_by_side(keys: Sequence[bytes], length: int) -> list[int]:
    """The hashes of at most :data:`LANES` keys that are ``length`` bytes long each."""
    count = len(keys)
    full, rest = divmod(length, _WORD)
    # The hash takes the bytes behind the last whole word as a word that ends with zeros.
    padding = bytes(-length % _WORD)
    words = array("I", padding.join(keys) + padding)
    stride = full + (rest > 0)
    lanes = array("I", bytes(8 * count))
    h = (_SEED ^ length) * (_ONES & ((1 << _LANE_BITS * count) - 1))
    for place in range(full):
        lanes[::2] = words[place::stride]
        k = int.from_bytes(lanes, "little") * _M & _LOW_32
        k = (k ^ (k >> 24 & _LOW_8)) * _M & _LOW_32
        h = h * _M & _LOW_32 ^ k
    if rest:
        lanes[::2] = words[full::stride]
        h = (h ^ int.from_bytes(lanes, "little")) * _M & _LOW_32
    h = (h ^ (h >> 13 & _LOW_19)) * _M & _LOW_32
    h ^= h >> 15 & _LOW_17
    return array("I", h.to_bytes(8 * count, "little"))[::2].tolist()
