"""Which partition a key belongs to: Kafka's default rule, remembered per key.

``partition = toPositive(murmur2(key)) % partitions``, as in the Java client's default
partitioner; every client that follows it reads and writes a key in the same place.  The hash
in Python costs about 4 µs, so results are remembered for as many keys as fit.
"""

from typing import Final

from aiokafka.partitioner import murmur2

REMEMBERED_KEYS: Final = 65_536
"""Keys remembered before the memory is emptied; about 10 MiB."""


class Partitioner:
    """Kafka's default partitioner with a memory."""

    def __init__(self) -> None:
        self._memory: dict[tuple[bytes, int], int] = {}

    def partition(self, key: bytes, count: int) -> int:
        """The partition of ``key`` among ``count``."""
        memory = self._memory
        found = memory.get((key, count))
        if found is None:
            if len(memory) >= REMEMBERED_KEYS:
                memory.clear()
            found = memory[key, count] = (murmur2(key) & 0x7FFFFFFF) % count
        return found
