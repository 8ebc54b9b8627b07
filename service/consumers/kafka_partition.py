"""One partition of the Kafka source: which phase it is in, and what is known of its progress.

Pure apart from the batches that it holds: no client, no clock.  The source drives it; the
committer reads it.  A partition outlives its assignments: when it comes straight back and the
group's stored offset is the one that we wrote, nobody else has touched it, and what we know to
be finished stays finished.
"""

from collections.abc import Sequence
from enum import Enum
from functools import partial
from typing import TypeAlias

import structlog

from service.consumers.base import CommittedOffset, TopicPartition
from service.consumers.kafka_delivered import Delivered
from service.consumers.kafka_doubt import Doubt
from service.consumers.kafka_hold import Hold
from service.consumers.kafka_listing import Listing
from service.delivery.commit_metadata import (
    ALWAYS_FIT,
    BITMAP_MAX_BYTES,
    Journal,
    Progress,
    decode,
    encode,
    would_overflow,
)
from service.delivery.inherited import Inherited
from service.delivery.offsets import PartitionOffsets
from service.delivery.quarantine import Quarantine
from service.delivery.skips import SkipSet, union
from service.delivery.suspicion import Caution, PartitionWatch
from service.events import RecordBatch

log = structlog.get_logger(__name__)

SourcePartition: TypeAlias = tuple[str, str, int]
"""Source, topic and partition."""


class Phase(Enum):
    """Where a partition is in its life with us."""

    PREPARING = "preparing"
    """Assigned; its position is not known yet, nothing is read."""
    RUNNING = "running"
    """Read, dispatched, committed."""
    HALTED = "halted"
    """Stopped by policy; needs a person, stays assigned."""
    REVOKED = "revoked"
    """Not ours; kept only to recognise it when it comes straight back."""


class HeldPartition:
    """A partition that is, or just was, assigned to us.

    Args:
        partition: Which one.
        quarantine: Suspicions of the process, shared by all its partitions.
        source: Name of its source, which tells two groups' views of one partition apart.

    Attributes:
        phase: See :class:`Phase`.
        epoch: Counts assignments; batches carry it.
        offsets: Progress under the current epoch; ``None`` before the first preparation.
        delivered: Its batches that are not done.
        acknowledged: What the broker last confirmed as committed by us or before us.
        closing: It is about to be revoked: what runs may finish, nothing more may begin.
        suspended: It was lost without having been given up, and whether anybody else has worked
            on it since is not known: what is in hand waits.
        doubt: Of what the group says has been committed, since the last assignment.
        watch: What it is suspected of; ``None`` while it is not being read.
        committed_at_s: ``loop.time()`` when the broker last confirmed a commit of ours; 0 before.
        assigned_at_s: ``loop.time()`` of the last assignment.
        hold: Until when nothing is read, of a delay topic.
    """

    def __init__(
        self,
        partition: TopicPartition,
        *,
        quarantine: Quarantine[SourcePartition],
        source: str = "",
    ) -> None:
        self.partition = partition
        self.name: SourcePartition = (source, partition.topic, partition.partition)
        self.watch: PartitionWatch | None = None
        self.phase = Phase.PREPARING
        self.epoch = 0
        self.offsets: PartitionOffsets | None = None
        self.delivered = Delivered()
        self.acknowledged: int | None = None
        self.committed_at_s = 0.0
        self.assigned_at_s = 0.0
        self.hold = Hold()
        self._listing = Listing()
        self._inherited = Inherited()
        self.closing = False
        self.suspended = False
        self.doubt = Doubt()
        self._stored: CommittedOffset | None = None
        self._quarantine = quarantine
        self._journal_due: Journal | None = None
        self._own_commits: set[int] = set()

    def assign(self, now_s: float) -> None:
        """It is (again) ours; :meth:`resume` follows when its committed offset is known."""
        self.epoch += 1
        self.closing = False
        self.assigned_at_s = now_s
        self.hold = Hold()
        self.doubt = Doubt()
        self.phase = Phase.PREPARING

    def believes(self, committed: CommittedOffset | None, now_s: float) -> bool:
        """Whether what the group says it has stored may be what it has stored; see :class:`Doubt`.

        Args:
            committed: What it says; ``None`` if it says that it has nothing.
            now_s: ``loop.time()``.
        """
        pending, known = self.doubt.pending, self.acknowledged
        answer = None if committed is None else committed.next_offset
        believed = self.doubt.believes(answer, known, now_s)
        if self.doubt.pending and (believed or not pending):
            log.warning(
                "committed offset went back" if believed else "committed offset is doubted",
                source=self.name[0],
                partition=str(self.partition),
                answer=answer,
                known=known,
            )
        return believed

    def resume(self, committed: CommittedOffset | None, start: int) -> int:
        """Decide where to read from, and begin a new epoch of progress.

        Args:
            committed: What the group has stored, if anything.
            start: Where to begin if it has not.

        Returns:
            The position to read from.
        """
        position, progress = start, Progress()
        if committed is not None:
            position = committed.next_offset
            progress = decode(position, committed.metadata)
        known = self.offsets
        finished = progress.finished
        self._inherited = Inherited(progress.attempts, progress.finished_by)
        if known is not None and position in self._own_commits:
            # Somebody else may have worked here without moving the offset: both count.
            finished = tuple(union(finished, known.finished_ranges()))
            position = known.next_offset
            self._inherited.hand_over(self.delivered.kept)
        self.acknowledged = None if committed is None else committed.next_offset
        self._stored = committed
        self._own_commits = {position}
        if self.acknowledged is not None:
            self._own_commits.add(self.acknowledged)
        self.offsets = PartitionOffsets(
            self.partition.topic,
            self.partition.partition,
            epoch=self.epoch,
            position=position,
            skips=SkipSet(finished),
        )
        self.delivered.begin()
        self.watch = self._quarantine.open(
            self.name,
            next_offset=position,
            progress=progress,
            outstanding=partial(_outstanding, self.offsets),
        )
        self.phase = Phase.RUNNING
        return position

    def forget(self) -> None:
        """Believe only what is committed from here on."""
        self.offsets = None

    def restart(self, position: int) -> None:
        """Begin a new epoch of progress at ``position``, whatever was known before."""
        self.offsets = None
        self.resume(None, position)

    def deliver(self, batch: RecordBatch) -> int:
        """Track ``batch``; returns how many of its records were finished before."""
        offsets = self.offsets
        if offsets is None:
            raise RuntimeError("deliver before resume")
        self.delivered.add(batch)
        self._inherited.give(batch)
        return offsets.deliver(batch)

    def close(self, *, finishing: bool = False) -> None:
        """Start nothing more, of what was delivered or later; what runs may finish.

        Args:
            finishing: And may begin in the pipelines behind: there is time, and what those
                before have published would be published again.
        """
        self.closing = True
        self.delivered.close(finishing=finishing)

    def revoke(self) -> None:
        """Nothing of what was delivered may be published or committed any more."""
        self.close()
        if self.offsets is not None:
            self.offsets.revoke()
        self.delivered.drop()
        self.watch = None
        self._quarantine.forget(self.name)
        self.phase = Phase.REVOKED

    def suspend(self) -> None:
        """Lost, without having been given up: keep what is in hand, and begin nothing more.

        Followed by :meth:`reinstate`, if it comes back and is :meth:`untouched`, or by
        :meth:`abandon`.
        """
        self.close()
        self.delivered.keep()
        self.watch = None
        self._quarantine.forget(self.name)
        self.phase = Phase.REVOKED
        self.suspended = bool(self.delivered.kept)

    def untouched(self, committed: CommittedOffset | None) -> bool:
        """Whether nobody else has worked on it since our last commit.

        Every owner commits a journal with its own number before it dispatches anything, and an
        owner that leaves in order takes its number away.  So if the number is ours and the
        partition open, there was nobody.

        Args:
            committed: What the group has stored now.
        """
        if committed is None:
            return False
        journal = decode(committed.next_offset, committed.metadata).journal
        return journal is not None and journal.open and journal.owner == self._quarantine.owner

    def reinstate(self) -> None:
        """What is in hand may be published; :meth:`resume` follows when it has settled."""
        self.suspended = False

    def abandon(self) -> Sequence[RecordBatch]:
        """Drop what is left in hand; returns it."""
        self.suspended = False
        return self.delivered.drop_kept()

    def admit(self, first_offset: int, next_offset: int) -> bool:
        """Whether records from ``first_offset`` on may be dispatched; otherwise commit first."""
        return self.watch is not None and self.watch.admit(first_offset, next_offset) is None

    def finished_from(self, batch: RecordBatch, index: int) -> int:
        """One past the records of ``batch`` from ``index`` on that an earlier owner finished."""
        if self.offsets is not None:
            while index < len(batch) and self.offsets.finished_before(batch.records[index].offset):
                index += 1
        return index

    @property
    def suspected(self) -> bool:
        """Whether its last owner died, so that not everything may run at once."""
        return self.watch is not None and self.watch.caution is not Caution.FREE

    @property
    def alone(self) -> bool:
        """Whether its records must run one by one."""
        return self.watch is not None and self.watch.caution is Caution.ALONE

    @property
    def expected_offset(self) -> int:
        """One past the last record that was delivered; 0 before the first preparation."""
        return 0 if self.offsets is None else self.offsets.expected_offset

    def has_metadata_room(self, records: int) -> bool:
        """Whether ``records`` more could finish in any order and still be remembered."""
        offsets = self.offsets
        if offsets is None:
            return False
        if offsets.span + records <= ALWAYS_FIT:  # do not look at batches
            return True
        low, end = offsets.next_offset, offsets.expected_offset
        if end + records - low <= ALWAYS_FIT:  # do not compute ranges
            return True
        return not would_overflow(low, offsets.finished_ranges(), end + records)

    def due(
        self, now_s: float, *, leaving: bool = False, exact: bool = False
    ) -> CommittedOffset | None:
        """What should be committed now, if it differs from what the broker has.

        Also when only the metadata does; :class:`Listing` says when what is finished behind the
        offset is a part of it.

        Args:
            now_s: ``loop.time()``.
            leaving: This is the last commit before the partition is given up in order, and says
                so to its next owner.
            exact: List in any case: the results of what is finished become visible together with
                this commit, and would do so twice if the next owner did not know of them.
        """
        offsets, watch = self.offsets, self.watch
        if offsets is None or watch is None or self.phase is Phase.REVOKED:
            return None
        offsets.compact()
        next_offset = offsets.next_offset
        self._quarantine.progressed(self.name, next_offset)
        if (
            not offsets.commit_due(self.acknowledged)
            and not offsets.outstanding
            and watch.unwritten is None
            and not leaving
        ):
            return None
        self._journal_due = watch.closing_journal if leaving else watch.journal
        # Under suspicion as well: what is not listed is suspect after the next crash.
        stuck = next_offset == self.acknowledged
        listed = (
            leaving or exact or self.suspected or self._listing.due(offsets, now_s, stuck=stuck)
        )
        if listed:
            self._listing.listed(now_s)
        elif stuck and watch.unwritten is None:
            return None  # nothing moved, and a commit would take the last list away
        self._inherited.passed(next_offset)
        if leaving:
            self._inherited.hand_over(self.delivered.live)
        bitmap = offsets.finished_bitmap(BITMAP_MAX_BYTES) if listed else None
        progress = Progress(
            finished=tuple(offsets.finished_ranges()) if listed and bitmap is None else (),
            attempts=self._inherited.attempts_with(self.delivered.live),
            finished_by=self._inherited.finished_by,
            journal=self._journal_due,
        )
        due = CommittedOffset(next_offset, encode(next_offset, progress, bitmap=bitmap))
        if due == self._stored:
            if self._journal_due is not None:
                watch.wrote(self._journal_due)  # an earlier commit of ours says just this
            return None
        self._own_commits.add(next_offset)
        return due

    def confirmed(self, committed: CommittedOffset, now_s: float) -> None:
        """The broker has stored ``committed``, which :meth:`due` returned last."""
        next_offset = committed.next_offset
        if self.watch is not None and self._journal_due is not None:
            self.watch.wrote(self._journal_due)
        if self.acknowledged is None or next_offset >= self.acknowledged:
            self.acknowledged = next_offset
            self._stored = committed
        self._own_commits = {at for at in self._own_commits if at >= next_offset}
        self.committed_at_s = now_s


def _outstanding(offsets: PartitionOffsets) -> int:
    return offsets.outstanding
