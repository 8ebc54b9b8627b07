"""Which partition a key belongs to: Kafka's default rule, remembered per key.

``partition = toPositive(murmur2(key)) % partitions``, as in the Java client's default
partitioner; every client that follows it reads and writes a key in the same place.  A key that
comes again is found quicker than it is hashed, so results are remembered for as many keys as fit.
"""

from collections.abc import Sequence
from typing import Final, cast

from service.publishers.murmur2 import murmur2_of

REMEMBERED_KEYS: Final = 16_384
"""Keys after which the memory is emptied; about 2.5 MiB, which are freed in less than 1 ms."""

_POSITIVE: Final = 0x7FFFFFFF


class Partitioner:
    """Kafka's default partitioner with a memory."""

    def __init__(self) -> None:
        self._memory: dict[int, dict[bytes | None, int]] = {}

    def partition(self, key: bytes, count: int) -> int:
        """The partition of ``key`` among ``count``."""
        return self.partitions((key,), count, 0)[0]

    def partitions(self, keys: Sequence[bytes | None], count: int, spare: int) -> list[int]:
        """The partition of each of ``keys`` among ``count``, ``spare`` where there is none."""
        memory = self._memory_for(count)
        found = list(map(memory.get, keys))
        if None not in found:
            return cast("list[int]", found)
        new = {key for key, place in zip(keys, found, strict=True) if place is None}
        new.discard(None)
        if not new:
            return [spare if place is None else place for place in found]
        names = cast("list[bytes]", list(new))
        memory.update(zip(names, [(h & _POSITIVE) % count for h in murmur2_of(names)], strict=True))
        return [memory.get(key, spare) for key in keys]

    def _memory_for(self, count: int) -> dict[bytes | None, int]:
        memory = self._memory.get(count)
        if memory is None or len(memory) >= REMEMBERED_KEYS:
            memory = self._memory[count] = {}
        return memory
