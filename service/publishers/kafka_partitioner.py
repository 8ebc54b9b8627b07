"""Which partition a key belongs to: Kafka's default rule, remembered per key.

``partition = toPositive(murmur2(key)) % partitions``, as in the Java client's default
partitioner; every client that follows it reads and writes a key in the same place.  The hash
in Python costs about 4 µs, so results are remembered for as many keys as fit.
"""

from collections.abc import Sequence
from typing import Final, cast

from aiokafka.partitioner import murmur2

REMEMBERED_KEYS: Final = 65_536
"""Keys remembered before the memory is emptied; about 10 MiB."""


class Partitioner:
    """Kafka's default partitioner with a memory."""

    def __init__(self) -> None:
        self._memory: dict[int, dict[bytes | None, int]] = {}

    def partition(self, key: bytes, count: int) -> int:
        """The partition of ``key`` among ``count``."""
        memory = self._memory_for(count)
        found = memory.get(key)
        if found is None:
            found = memory[key] = (murmur2(key) & 0x7FFFFFFF) % count
        return found

    def partitions(self, keys: Sequence[bytes | None], count: int, spare: int) -> list[int]:
        """:meth:`partition` of each of ``keys``, ``spare`` where there is none."""
        memory = self._memory_for(count)
        found = list(map(memory.get, keys))
        if None not in found:
            return cast("list[int]", found)
        return [
            (spare if key is None else self.partition(key, count)) if place is None else place
            for key, place in zip(keys, found, strict=True)
        ]

    def _memory_for(self, count: int) -> dict[bytes | None, int]:
        memory = self._memory.get(count)
        if memory is None or len(memory) >= REMEMBERED_KEYS:
            memory = self._memory[count] = {}
        return memory
