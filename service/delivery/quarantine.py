"""Finding the record that kills or hangs the process, without blaming those beside it.

After a crash nobody can ask the process what it was doing.  Everything in flight is suspect, and
only one record is guilty.  So what was started must be on paper *before* it starts, and the
paper is the commit metadata (:class:`service.delivery.commit_metadata.Journal`): it survives the
process, and only the partition's owner can write it.

Each partition goes through three ways of working, by how often in a row its owners died:

* **free** (no crash): one extra commit when the partition is opened, before the first dispatch,
  says "open".  An owner that leaves in order says "closed"; one that dies cannot.
* **watched** (died once): most crashes are a node's or a deployment's, so work goes on, but at
  most ``window`` records at a time, and each batch is noted before it is dispatched.  After
  ``trial`` records the suspicion is dropped.
* **alone** (died once more in there, for the default of three restarts): the suspects, which are
  the unfinished records of the noted window, run one at a time with *nothing else running in the
  process*, each after a commit that names it; nothing else starts before a commit takes the
  name back.  The guilty one kills the process once more, and is the only one named.

One name is not proof: somebody who kills processes for his own reasons, again and again, will
sooner or later hit one while an innocent record runs alone.  So the named record, which is the
first to run after the next start, is condemned only when it is named at the next crash too: after
three restarts that it did not survive.  The owner after that dead-letters it as ``poison`` before
it is dispatched.  A record is never condemned on less than having been in flight at each of four
crashes and by itself at the last two, with no progress between them.

The cost for who is never suspected is one commit per assignment.  Pure: says what to commit and
what may run, and does neither.
"""

import sys
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from service.delivery.commit_metadata import Journal, Progress
from service.delivery.skips import SkipSet
from service.events import Failure

PartitionT = TypeVar("PartitionT", bound=Hashable)

UNLIMITED = sys.maxsize
"""As a count of records: as many as there are."""

_RESTARTS_MIN = 3


class Caution(Enum):
    """How a partition may be worked on."""

    FREE = "free"
    WATCHED = "watched"
    ALONE = "alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinePolicy:
    """When to suspect and when to condemn.

    Args:
        restarts: Restarts that do not survive the same record, which condemn it; at least 3: the
            first raises the watch, the last two find the record alone.
        window: Most records in flight per partition while it is watched: the number of suspects
            that have to run alone after the next crash.
        trial: Positions after which a watched partition is free again.

    Raises:
        ValueError: If a number is out of its range.
    """

    restarts: int = 3
    window: int = 256
    trial: int = 10_000

    def __post_init__(self) -> None:
        if self.restarts < _RESTARTS_MIN or not 1 <= self.window <= self.trial:
            raise ValueError("restarts must be at least 3, window at least 1 and at most trial")


class PartitionWatch:
    """The suspicion about one partition, as long as one process owns it.

    Args:
        policy: When to suspect and when to condemn.
        owner: Random number of this process, below 2**32.
        next_offset: The committed offset that the partition is opened at.
        progress: What the metadata of that commit says.
        outstanding: How many of its records are dispatched and not durable yet.
    """

    __slots__ = (
        "_alone",
        "_condemned",
        "_crashes",
        "_owner",
        "_policy",
        "_trial_end",
        "_window_end",
        "_written",
        "outstanding",
    )

    def __init__(
        self,
        policy: QuarantinePolicy,
        *,
        owner: int,
        next_offset: int,
        progress: Progress,
        outstanding: Callable[[], int],
    ) -> None:
        self.outstanding = outstanding
        self._policy = policy
        self._owner = owner
        self._written: Journal | None = None
        self._crashes = _crashes_at_opening(policy, progress.journal, owner, next_offset)
        self._trial_end = next_offset + policy.trial
        self._window_end = 0
        self._alone: int | None = None
        self._condemned: int | None = None
        last = progress.journal
        if last is not None and self.caution is Caution.ALONE:
            self._window_end = last.window_end or next_offset + policy.window
            named = last.alone
            if (
                named is not None
                and self._crashes > policy.restarts
                and named not in SkipSet(progress.finished)
            ):
                self._condemned = self._alone = named
        self.progressed(next_offset)

    @property
    def caution(self) -> Caution:
        """How the partition may be worked on."""
        if not self._crashes:
            return Caution.FREE
        if self._crashes < self._policy.restarts - 1:
            return Caution.WATCHED
        return Caution.ALONE

    @property
    def condemned(self) -> int | None:
        """Offset of the record that must not be dispatched but dead-lettered, if any."""
        return self._condemned

    @property
    def journal(self) -> Journal:
        """What every commit of the open partition carries."""
        return Journal(
            owner=self._owner,
            crashes=self._crashes,
            window_end=self._window_end,
            alone=self._alone,
        )

    @property
    def closing_journal(self) -> Journal | None:
        """What the last commit carries when the partition is given up in order.

        Leaving in order proves nothing about a record that was not run, so suspicion stays.
        """
        if not self._crashes:
            return None
        return Journal(
            open=False,
            owner=self._owner,
            crashes=self._crashes,
            window_end=self._window_end,
            alone=self._condemned,
        )

    @property
    def room(self) -> int:
        """Most records that the next batch may have; 0 means to wait."""
        caution = self.caution
        if caution is Caution.FREE:
            return UNLIMITED
        if caution is Caution.WATCHED:
            return max(self._policy.window - self.outstanding(), 0)
        return 0 if self.outstanding() else 1

    def admit(self, first_offset: int, next_offset: int) -> Journal | None:
        """What must be committed before a batch is dispatched; ``None`` means that it may go.

        Commit the journal with the current progress, call :meth:`wrote`, and ask again.

        Args:
            first_offset: Offset of the batch's first record.
            next_offset: One past its last.
        """
        caution = self.caution
        if caution is Caution.WATCHED:
            self._window_end = max(self._window_end, next_offset)
        elif caution is Caution.ALONE and self._condemned is None:
            self._alone = first_offset
        return self.unwritten

    @property
    def unwritten(self) -> Journal | None:
        """The journal, if the last commit said something else."""
        journal = self.journal
        return None if journal == self._written else journal

    def wrote(self, journal: Journal) -> None:
        """``journal`` is committed."""
        self._written = journal

    def verdict(self, offset: int) -> Failure | None:
        """Why the record at ``offset`` must be dead-lettered instead of dispatched, if so."""
        if offset != self._condemned:
            return None
        return Failure(
            "poison",
            f"the process died {self._crashes} times in a row with this record in flight, "
            "the last two with nothing beside it",
            stage="handle",
            attempts=self._crashes,
        )

    def progressed(self, next_offset: int) -> None:
        """Everything below ``next_offset`` is durable; suspicion may have become groundless."""
        if self._condemned is not None:
            acquitted = next_offset > self._condemned
        elif self.caution is Caution.ALONE:
            acquitted = next_offset >= self._window_end
        else:
            acquitted = next_offset >= self._trial_end
        if acquitted:
            self._crashes = 0
            self._window_end = 0
            self._alone = None
            self._condemned = None
        elif self._alone is not None and next_offset > self._alone:
            # it has survived: whoever was named before is no worse than the other suspects
            self._alone = None
            self._crashes = min(self._crashes, self._policy.restarts - 1)


def _crashes_at_opening(
    policy: QuarantinePolicy, last: Journal | None, owner: int, next_offset: int
) -> int:
    if last is None:
        return 0
    died = last.open and last.owner != owner
    if died and 0 < last.window_end <= next_offset:
        return 0  # it died, but with nothing of this partition in flight
    if died and last.crashes >= policy.restarts - 1 and last.alone is None:
        return last.crashes  # it died between two suspects: no name, no evidence
    return last.crashes + died


class Quarantine(Generic[PartitionT]):
    """All partitions of one process: while a suspect runs alone, nothing else does.

    A crash is the process's, so "alone" must mean alone in the process: two suspects of two
    partitions side by side would both be named.  The turn goes to one suspect at a time.  Only a
    suspect that is here and waiting holds the others up, for the suspects of an idle partition
    may have been deleted in the meantime.

    Args:
        policy: When to suspect and when to condemn.
        owner: Random number of this process, below 2**32.
    """

    __slots__ = ("_asking", "_owner", "_policy", "_turn", "_watches")

    def __init__(self, policy: QuarantinePolicy, *, owner: int) -> None:
        self._policy = policy
        self._owner = owner
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
            owner=self._owner,
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
        """The suspect is durable; what must be committed before the turn ends, ``None``: it did.

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
