"""Where a key belongs: Kafka's default partitioner, written from its definition.

Murmur2 (Austin Appleby, 2008) with Kafka's seed, over little-endian words; the sign bit is
cleared before the remainder.  Knows nothing of the service's or any client's implementation.
"""

_SEED = 0x9747B28C
_MIX = 0x5BD1E995
_WORD = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The hash of ``data``, unsigned."""
    state = _SEED ^ len(data)
    whole = len(data) & ~3
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * _MIX & _WORD
        word = (word ^ word >> 24) * _MIX & _WORD
        state = (state * _MIX & _WORD) ^ word
    if whole < len(data):
        state = (state ^ int.from_bytes(data[whole:], "little")) * _MIX & _WORD
    state = (state ^ state >> 13) * _MIX & _WORD
    return state ^ state >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of ``key`` in a topic with so many."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
