"""When to look at which key of a partition: at the end of its windows, at the time of its timer.

Pure.  What is remembered is one moment a key, the earliest that was asked for.  Otherwise each
time that a key's moment moves would leave an entry behind, to be kept and gone through.
"""

import heapq
from collections.abc import Iterable


class Agenda:
    """Keys in the order of their moments.

    What is found at its moment to be not due yet is put there again by whoever looks.

    Args:
        entries: Moment and key of what is known already, each key once.
    """

    __slots__ = ("_heap", "_next_ms")

    def __init__(self, entries: Iterable[tuple[int, str]] = ()) -> None:
        self._heap = list(entries)
        heapq.heapify(self._heap)
        self._next_ms = {key: at_ms for at_ms, key in self._heap}

    def __len__(self) -> int:
        """Entries kept; a key that was moved forward has one more until its later moment."""
        return len(self._heap)

    def add(self, at_ms: int, key: str) -> None:
        """Look at ``key`` at ``at_ms``, unless that is done before anyway."""
        next_ms = self._next_ms.get(key)
        if next_ms is None or at_ms < next_ms:
            self._next_ms[key] = at_ms
            heapq.heappush(self._heap, (at_ms, key))

    def take(self, time_ms: int) -> str | None:
        """A key whose moment has come by ``time_ms``, if there is one; it is forgotten."""
        while self._heap and self._heap[0][0] <= time_ms:
            at_ms, key = heapq.heappop(self._heap)
            if self._next_ms.get(key) == at_ms:  # or it was looked at before
                del self._next_ms[key]
                return key
        return None

    @property
    def next_ms(self) -> int | None:
        """No key has a moment before this; ``None`` if there is no key."""
        return self._heap[0][0] if self._heap else None
