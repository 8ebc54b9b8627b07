"""Finding the record that kills or hangs the process, without blaming those beside it.

After a crash nobody can ask the process what it was doing.  Everything in flight is suspect, and
only one record is guilty.  So what may have started must be on paper *before* it starts, and the
paper is the commit metadata (:class:`service.delivery.commit_metadata.Journal`): it survives the
process, and only the partition's owner can write it.

Each partition goes through three ways of working, by how often in a row its owners died of what
may be the same record:

* **free** (no crash): every commit notes a bound well ahead of the dispatch, which nothing passes
  before a later commit has moved it.  So there is one extra commit when the partition is opened,
  and next to none after it.  An owner that leaves in order says "closed"; one that dies cannot.
* **watched** (died once): most crashes are a node's or a deployment's, so work goes on, but each
  batch is noted before it is dispatched, and at most ``window`` records are in flight at first.
  What survives doubles the window.  The suspects of the crash are the unfinished records below
  the bound that was noted then; behind them the partition is free again.
* **alone** (died once more, for the default of three restarts, with suspects of the first crash
  in flight): those that were in flight at both crashes run one at a time with *nothing else
  running in the process*, each after a commit that names it, and the same commit takes the name
  of the one before back.  The guilty one kills the process once more, and is the only one named.

One name is not proof: somebody who kills processes for reasons of their own, again and again, will
sooner or later hit one while an innocent record runs alone.  So the named record, which is the
first to run after the next start, is condemned only when it is named at the next crash too: after
three restarts that it did not survive.  The owner after that dead-letters it as ``poison`` before
it is dispatched.  A record is never condemned on less than having been in flight at each of four
crashes and by itself at the last two, with no progress between them.

A crash is held against a partition only if it can be the same record again.  A death with nothing
of the partition in flight says nothing about it, and once the suspects of the first crash have
survived, the next crash is a first one.  So a process that is killed from outside again and again,
and gets further each time, hardly ever runs anything alone.

Pure: says what to commit and what may run, and does neither.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from service.delivery.commit_metadata import Journal, Progress
from service.delivery.skips import SkipSet
from service.events import Failure

UNLIMITED = sys.maxsize
"""As a count of records: as many as there are."""

HEADROOM_MAX: Final = 1 << 16
"""Farthest that a bound is noted ahead, in positions."""

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
        window: Most records in flight per partition when the watch begins: about the number of
            suspects that have to run alone after the next crash.
        window_max: Where the doubling of the window ends.
        headroom: Positions that a free partition's bound is noted ahead, at least; four times as
            much as is worked through between two commits where that is more.

    Raises:
        ValueError: If a number is out of its range.
    """

    restarts: int = 3
    window: int = 64
    window_max: int = 128
    headroom: int = 512

    def __post_init__(self) -> None:
        if self.restarts < _RESTARTS_MIN:
            raise ValueError("restarts must be at least 3")
        if not 1 <= self.window <= self.window_max:
            raise ValueError("window must be at least 1 and at most window_max")
        if not 1 <= self.headroom <= HEADROOM_MAX:
            raise ValueError(f"headroom must be at least 1 and at most {HEADROOM_MAX}")


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
        "_dispatched_end",
        "_headroom",
        "_owner",
        "_policy",
        "_stepped",
        "_suspects_end",
        "_window",
        "_window_end",
        "_written",
        "_written_at",
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
        last = progress.journal
        self._crashes, self._suspects_end = _at_opening(policy, last, owner, next_offset)
        self._window_end = self._dispatched_end = self._written_at = next_offset
        self._headroom = policy.headroom
        self._window = policy.window
        self._stepped = 0
        self._alone: int | None = None
        self._condemned: int | None = None
        if last is not None and self._crashes > policy.restarts:
            named = last.alone
            if named is not None and named not in SkipSet(progress.finished):
                self._condemned = self._alone = named
        self.progressed(next_offset)
        if not self._crashes:
            # the commit that opens it allows for the first batch
            self._window_end += self._headroom

    @property
    def caution(self) -> Caution:
        """How the partition may be worked on."""
        if not self._crashes:
            return Caution.FREE
        if self._crashes < self._policy.restarts - 1:
            return Caution.WATCHED
        return Caution.ALONE

    @property
    def journal(self) -> Journal:
        """What every commit of the open partition carries."""
        return Journal(
            owner=self._owner,
            crashes=self._crashes,
            window_end=self._window_end,
            suspects_end=self._suspects_end if self._crashes else None,
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
            suspects_end=self._suspects_end,
            alone=self._condemned,
        )

    @property
    def room(self) -> int:
        """Most records that the next batch may have; 0 means to wait."""
        caution = self.caution
        if caution is Caution.FREE:
            return UNLIMITED
        if caution is Caution.WATCHED:
            # not record by record as each one finishes: every batch costs a commit
            free = self._window - self.outstanding()
            return free if 2 * free >= self._window else 0
        return 0 if self.outstanding() else 1

    def admit(self, first_offset: int, next_offset: int) -> Journal | None:
        """What must be committed before a batch is dispatched; ``None`` means that it may go.

        Commit the journal with the current progress, call :meth:`wrote`, and ask again.

        Args:
            first_offset: Offset of the batch's first record.
            next_offset: One past its last.
        """
        caution = self.caution
        if caution is Caution.FREE:
            self._dispatched_end = max(self._dispatched_end, next_offset)
            if next_offset + self._headroom // 2 > self._window_end:
                self._window_end = next_offset + self._headroom
            return None if self._noted(next_offset) else self.journal
        if caution is Caution.WATCHED and next_offset > self._window_end:
            self._step(next_offset - self._window_end)
        elif caution is Caution.ALONE and self._condemned is None:
            self._alone = first_offset
        self._window_end = max(self._window_end, next_offset)
        return self.unwritten

    def _noted(self, next_offset: int) -> bool:
        """Whether the last commit allows for dispatch up to ``next_offset`` and blames nobody."""
        written = self._written
        return (
            written is not None
            and written.window_end >= next_offset
            and written.crashes == self._crashes
            and written.alone is None
        )

    def _step(self, positions: int) -> None:
        """Another batch goes out, so most of the window before it has survived."""
        if self._stepped >= self._window:
            self._window = min(2 * self._window, self._policy.window_max)
            self._stepped = 0
        self._stepped += positions

    @property
    def unwritten(self) -> Journal | None:
        """The journal, if the last commit said something else."""
        journal = self.journal
        return None if journal == self._written else journal

    def wrote(self, journal: Journal) -> None:
        """``journal`` is committed."""
        self._written = journal
        moved = self._dispatched_end - self._written_at
        self._written_at = self._dispatched_end
        # wide at once, narrow slowly: a bound that is reached costs a commit that work waits for
        narrowed = self._headroom - self._headroom // 4
        self._headroom = min(max(self._policy.headroom, 4 * moved, narrowed), HEADROOM_MAX)

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
        if not self._crashes:
            return
        if self._condemned is not None:
            acquitted = next_offset > self._condemned
        else:
            acquitted = next_offset >= self._suspects_end
        if acquitted:
            self._crashes = 0
            self._alone = None
            self._condemned = None
        elif self._alone is not None and next_offset > self._alone:
            # it has survived: whoever was named before is no worse than the other suspects
            self._alone = None
            self._crashes = min(self._crashes, self._policy.restarts - 1)


def _at_opening(
    policy: QuarantinePolicy, last: Journal | None, owner: int, next_offset: int
) -> tuple[int, int]:
    """Crashes in a row that may be the same record's, and one past the last suspect."""
    if last is None:
        return 0, next_offset
    crashes, bound = last.crashes, last.window_end
    suspects_end = bound if last.suspects_end is None else last.suspects_end
    if not last.open or last.owner == owner:
        return crashes, suspects_end
    if crashes >= policy.restarts - 1:
        # between two suspects: no name, no evidence
        return crashes + (last.alone is not None), suspects_end
    if bound <= next_offset:
        return crashes, suspects_end  # it died, but with nothing of this partition in flight
    return crashes + 1, min(bound, suspects_end)
