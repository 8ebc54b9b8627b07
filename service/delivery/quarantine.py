"""While a suspect runs alone, nothing else runs in the process.

A crash is the process's, and so is the proof: two suspects of two partitions side by side would
both be named.  What each partition is suspected of, and why, is in
:mod:`service.delivery.suspicion`; here is only whose turn it is.  Pure: commits nothing, runs
nothing.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from service.delivery.commit_metadata import Journal, Progress
from service.delivery.suspicion import Caution, PartitionWatch, QuarantinePolicy

PartitionT = TypeVar("PartitionT", bound=Hashable)


class Quarantine(Generic[PartitionT]):
    """All partitions of one process: while a suspect runs alone, nothing else does.

    A partition keeps the turn for as many of its suspects as are at hand, each named by the
    commit that takes back the name of the one before.  Only a suspect that is here and waiting
    holds the others up, for the suspects of an idle partition may have been deleted in the
    meantime.

    Args:
        policy: When to suspect and when to condemn.
        owner: Random number of this process, below 2**32.
    """

    __slots__ = ("_asking", "_policy", "_turn", "_watches", "owner")

    def __init__(self, policy: QuarantinePolicy, *, owner: int) -> None:
        self._policy = policy
        self.owner = owner
        self._watches: dict[PartitionT, PartitionWatch] = {}
        self._asking: set[PartitionT] = set()
        self._turn: PartitionT | None = None

    def open(
        self,
        partition: PartitionT,
        *,
        next_offset: int,
        progress: Progress,
        outstanding: Callable[[], int],
    ) -> PartitionWatch:
        """Begin to watch a partition that was just assigned.

        Args:
            partition: Its name in the process.
            next_offset: The committed offset that it is opened at.
            progress: What the metadata of that commit says.
            outstanding: How many of its records are dispatched and not durable yet.
        """
        watch = PartitionWatch(
            self._policy,
            owner=self.owner,
            next_offset=next_offset,
            progress=progress,
            outstanding=outstanding,
        )
        self._watches[partition] = watch
        return watch

    def forget(self, partition: PartitionT) -> None:
        """The partition is closed or lost; if a suspect of it has the turn, the turn is free."""
        self._watches.pop(partition, None)
        self.end_alone(partition)

    def room(self, partition: PartitionT) -> int:
        """Most records that the next batch of ``partition`` may have; 0 means to wait."""
        watch = self._watches[partition]
        if (self._asking or self._turn is not None) and watch.caution is not Caution.ALONE:
            return 0
        return watch.room

    def progressed(self, partition: PartitionT, next_offset: int) -> None:
        """Everything of ``partition`` below ``next_offset`` is durable.  O(1)."""
        watch = self._watches.get(partition)
        if watch is not None:
            watch.progressed(next_offset)

    def begin_alone(self, partition: PartitionT) -> bool:
        """Ask for the turn of a suspect that is fetched and not dispatched; ``True`` grants it.

        From the first call on the others get no room, so that what they have in flight runs out.
        Needed only while the partition's caution is ``ALONE``.  O(partitions).
        """
        self._asking.add(partition)
        if self._turn is None and not any(w.outstanding() for w in self._watches.values()):
            self._turn = partition
        return self._turn == partition

    def end_alone(self, partition: PartitionT) -> Journal | None:
        """The last suspect is durable; what to commit before the turn ends, ``None``: it did.

        Until the commit names it no longer, the next crash would condemn it, whoever causes it.
        Commit the journal with the current progress, call :meth:`PartitionWatch.wrote`, and ask
        again.
        """
        watch = self._watches.get(partition)
        journal = None if watch is None else watch.unwritten
        if journal is None:
            self._asking.discard(partition)
            if self._turn == partition:
                self._turn = None
        return journal
