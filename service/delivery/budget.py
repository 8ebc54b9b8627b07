"""How much of each partition may be in memory, in records and in bytes.

Half of the budget is split evenly: that share is each partition's own, so a stuck one cannot
starve the others.  The other half is lent: a busy partition may borrow as much of it as it
leaves free (the dynamic threshold of shared-memory switches: A. K. Choudhury and E. L. Hahne,
IEEE/ACM Transactions on Networking 6(2), 1998), so greedy partitions never take the whole of it.

A partition that has run out of room is closed, and opens again only when a quarter of its share
is free: otherwise every record that finishes would fetch one record, and nothing would run in
batches.

Bookkeeping only: whoever fetches asks :meth:`MemoryBudget.room_for` first, says what came with
:meth:`MemoryBudget.take`, and gives it back when it is durable.  A fetch may bring more bytes
than there is room for (one record can be larger), so the bound in bytes is the budget plus one
record per partition.
"""

from collections.abc import Collection, Hashable
from typing import Generic, NamedTuple, TypeVar

PartitionT = TypeVar("PartitionT", bound=Hashable)

_REOPEN_PARTS = 4


class Room(NamedTuple):
    """How much more of a partition may be fetched; no records means no bytes, and vice versa."""

    records: int
    size_bytes: int


NO_ROOM = Room(0, 0)


class MemoryBudget(Generic[PartitionT]):
    """Shares ``max_records`` and ``max_bytes`` among the assigned partitions.

    >>> budget = MemoryBudget[str](max_records=100, max_bytes=1000)
    >>> budget.assign({"a", "b"})
    >>> budget.room_for("a")  # 25 of its own and half of the 50 that are lent
    Room(records=50, size_bytes=500)
    >>> budget.take("a", records=50, size_bytes=50)
    >>> budget.room_for("a")
    Room(records=0, size_bytes=0)
    >>> budget.room_for("b").records >= 25
    True

    Args:
        max_records: Most records in memory, over all partitions.
        max_bytes: Most bytes of keys, values and headers.

    Raises:
        ValueError: If either is below 1.
    """

    __slots__ = ("_bytes", "_closed", "_records")

    def __init__(self, *, max_records: int, max_bytes: int) -> None:
        if max_records < 1 or max_bytes < 1:
            raise ValueError("a budget needs at least one record and one byte")
        self._records = _Pool[PartitionT](max_records)
        self._bytes = _Pool[PartitionT](max_bytes)
        self._closed: set[PartitionT] = set()

    def assign(self, partitions: Collection[PartitionT]) -> None:
        """Share among ``partitions`` from now on.

        What departed partitions still hold counts as lent until it is given back.
        """
        self._records.assign(partitions)
        self._bytes.assign(partitions)
        self._closed.intersection_update(partitions)

    def room_for(self, partition: PartitionT) -> Room:
        """How much more of ``partition`` may be fetched now.  O(1)."""
        room = Room(self._records.room_for(partition), self._bytes.room_for(partition))
        if not (room.records and room.size_bytes):
            self._closed.add(partition)
            return NO_ROOM
        if partition in self._closed:
            if self._records.held_by(partition) and not (
                room.records * _REOPEN_PARTS >= self._records.own
                and room.size_bytes * _REOPEN_PARTS >= self._bytes.own
            ):
                return NO_ROOM
            self._closed.discard(partition)
        return room

    def has_room(self, partition: PartitionT) -> bool:
        """Whether :meth:`room_for` has any.  O(1), and quick where little is held."""
        if (
            partition not in self._closed
            and self._records.has_own_left(partition)
            and self._bytes.has_own_left(partition)
        ):
            return True
        return self.room_for(partition) is not NO_ROOM

    def take(self, partition: PartitionT, *, records: int, size_bytes: int) -> None:
        """Account for what a fetch brought; it is in memory already, so it is never refused."""
        self._records.change(partition, records)
        self._bytes.change(partition, size_bytes)

    def give_back(self, partition: PartitionT, *, records: int, size_bytes: int) -> None:
        """Account for what is durable or dropped.

        Raises:
            ValueError: If it is more than ``partition`` holds; nothing has changed then.
        """
        records_held = self._records.held_by(partition)
        if records > records_held or size_bytes > self._bytes.held_by(partition):
            raise ValueError(f"{partition} gives back more than it took")
        self._records.change(partition, -records)
        self._bytes.change(partition, -size_bytes)


class _Pool(Generic[PartitionT]):
    """One resource, records or bytes.

    ``lent`` is what the partitions hold beyond their own shares; it is kept up to date, so that
    no question costs more than O(1).
    """

    __slots__ = ("_assigned", "_capacity", "_held", "_lendable", "_lent", "own", "used")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._assigned: frozenset[PartitionT] = frozenset()
        self._held: dict[PartitionT, int] = {}
        self._lendable = capacity
        self._lent = 0
        self.own = 0
        self.used = 0

    def assign(self, partitions: Collection[PartitionT]) -> None:
        self._assigned = frozenset(partitions)
        self.own = self._capacity // (2 * len(self._assigned)) if self._assigned else 0
        self._lendable = self._capacity - self.own * len(self._assigned)
        self._lent = sum(self._beyond(partition, held) for partition, held in self._held.items())

    def held_by(self, partition: PartitionT) -> int:
        return self._held.get(partition, 0)

    def change(self, partition: PartitionT, amount: int) -> None:
        before = self._held.get(partition, 0)
        held = before + amount
        if held:
            self._held[partition] = held
        else:
            self._held.pop(partition, None)
        self.used += amount
        if before <= self.own >= held and partition in self._assigned:
            return  # nothing of it is lent, as nearly always
        self._lent += self._beyond(partition, held) - self._beyond(partition, before)

    def has_own_left(self, partition: PartitionT) -> bool:
        """Whether there is room without a look at what is lent."""
        return (
            self._held.get(partition, 0) < self.own
            and self.used < self._capacity
            and partition in self._assigned
        )

    def room_for(self, partition: PartitionT) -> int:
        if partition not in self._assigned:
            return 0
        own_left = self.own - self._held.get(partition, 0)
        # Half of the distance, so that the borrower leaves as much as it then holds; rounded up,
        # so that the last record can be lent.
        lendable = self._lendable - self._lent
        if own_left >= 0:
            room = own_left + max(0, (lendable + 1) // 2)
        else:  # it has borrowed that much
            room = max(0, (lendable + own_left + 1) // 2)
        return max(0, min(room, self._capacity - self.used))

    def _beyond(self, partition: PartitionT, held: int) -> int:
        """How much of ``held`` is borrowed."""
        return max(0, held - self.own if partition in self._assigned else held)
