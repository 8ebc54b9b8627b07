"""Which of the records that were fetched go into the channel now, and how many at a time.

Usually all, at once.  After a crash the quarantine asks for smaller steps, and for a commit that
notes what is about to run.  Knows nothing of fetches and decoding.
"""

import asyncio
from collections.abc import Sequence
from typing import ClassVar, Final

from service.channels import Overflow, Sender
from service.clock import loop_time_s
from service.consumers.base import TopicPartition
from service.consumers.kafka_committer import COMMIT_RETRY_S, Committer
from service.consumers.kafka_member import Member
from service.consumers.kafka_partition import HeldPartition
from service.consumers.room import send_when_there_is_room
from service.delivery.suspicion import UNLIMITED
from service.errors import ChannelClosedError
from service.events import CHUNK_BYTES, CHUNK_RECORDS, Handover, Permission, Record, RecordBatch

SUSPECT_POLL_S: Final = 0.002

# Named once: asked for every batch or every call that waits, which costs 100 ns on Python 3.11.
_GO: Final = Permission.GO
_WAIT: Final = Overflow.WAIT


class KafkaBatch(RecordBatch):
    """A batch that gives its memory back and is counted when every record of it is done.

    Attributes:
        member: Whose.
        held: Its partition.
    """

    counted: ClassVar[bool] = True
    __slots__ = ("held", "member")

    member: Member
    held: HeldPartition

    def permission(self) -> Permission:
        """To wait once the group may have given the partition to somebody else."""
        if self.revoked:
            return Permission.NEVER
        if self.held.suspended or not self.member.lease_valid():
            return Permission.WAIT
        return _GO

    @property
    def handover(self) -> Handover:
        """The last commit says who is finished, or a transaction has not been committed."""
        return Handover.BY_HANDLER if self.member.transactions is None else Handover.AFRESH

    def on_complete(self) -> None:
        """Tell the member, once."""
        self.member.completed(self)


class Admission:
    """Sends one member's batches into the channel.

    Args:
        member: Whose.
        committer: Commits what has to be on record before.

    Attributes:
        blocked_since_s: ``loop.time()`` since when it has been waiting for room in the channel.
    """

    def __init__(self, member: Member, committer: Committer) -> None:
        self.blocked_since_s: float | None = None
        # What was sent on since the pipeline last had a turn.
        self._records_sent = 0
        self._bytes_sent = 0
        self._member = member
        self._committer = committer

    def batch(
        self,
        held: HeldPartition,
        epoch: int,
        records: Sequence[Record],
        next_offset: int,
        size_bytes: int,
    ) -> KafkaBatch:
        """What :meth:`send` takes: ``records`` of ``held``, read in ``epoch``."""
        name = held.partition
        batch = KafkaBatch(
            name.topic,
            name.partition,
            records,
            next_offset=next_offset,
            epoch=epoch,
            size_bytes=size_bytes,
            received_at_s=loop_time_s(),
        )
        batch.member = self._member
        batch.held = held
        return batch

    async def send(self, batch: KafkaBatch, inbox: Sender[RecordBatch]) -> None:
        """Send ``batch`` on, in steps as small as the quarantine asks for."""
        member = self._member
        held = member.held[TopicPartition(batch.topic, batch.partition)]
        if not member.current(held, batch.epoch):
            return
        if len(batch) > member.quarantine.room(held.name) or held.suspected:
            await self._send_carefully(held, batch, inbox)
        elif await self._admitted(held, batch):
            await self._send_on(held, batch, inbox)

    async def _send_carefully(
        self, held: HeldPartition, batch: KafkaBatch, inbox: Sender[RecordBatch]
    ) -> None:
        """Send a batch of a partition under suspicion, or while another one's suspect runs.

        The poll loop waits here, and with it the source's other partitions: a process that has
        died twice on the same records works slowly until it knows which one it was.
        """
        member = self._member
        at = 0
        while at < len(batch) or (at == 0 and not len(batch)):
            if not member.current(held, batch.epoch):
                return  # it went while we waited, or while a suspect of it ran alone
            alone = held.alone
            if alone and (passed := held.finished_from(batch, at)) > at:
                # an earlier owner finished these: they run no more, and need no name
                await self._send_on(held, self._part(held, batch, at, passed), inbox)
                at = passed
                continue
            room = member.quarantine.room(held.name)
            if alone and room and not member.quarantine.begin_alone(held.name):
                room = 0
            if not room:
                await asyncio.sleep(SUSPECT_POLL_S)
                self._settle(held)
                continue
            end = len(batch) if room == UNLIMITED else min(at + room, len(batch))
            part = self._part(held, batch, at, end)
            if not await self._admitted(held, part):
                return
            await self._send_on(held, part, inbox)
            at = max(end, 1)
            if alone:
                await self._survived(held, part)
                if not held.alone or held.finished_from(batch, at) >= len(batch):
                    await self._end_alone(held, part.epoch)

    def _part(self, held: HeldPartition, batch: KafkaBatch, start: int, end: int) -> KafkaBatch:
        """Records ``start`` to ``end`` of ``batch``, as a batch; condemned ones marked."""
        if len(batch) <= 1 and batch.failure is not None:
            return batch
        records = batch.records[start:end]
        last = end >= len(batch)
        part = self.batch(
            held,
            batch.epoch,
            records,
            batch.next_offset if last else batch.records[end].offset,
            batch.size_bytes * len(records) // max(len(batch), 1),
        )
        if held.watch is not None and len(records) == 1:
            part.failure = held.watch.verdict(records[0].offset)
        return part

    async def _survived(self, held: HeldPartition, part: KafkaBatch) -> None:
        """Wait until a suspect is durable."""
        while self._member.current(held, part.epoch):
            # polled, because an event would cost something at every acknowledgement
            if not part.left:
                self._settle(held)
                return
            await asyncio.sleep(SUSPECT_POLL_S)

    async def _end_alone(self, held: HeldPartition, epoch: int) -> None:
        """Give up the turn, once no commit names a suspect any more."""
        while self._member.current(held, epoch):
            if self._member.quarantine.end_alone(held.name) is None:
                return
            await self._committer.commit_quietly()
            if held.watch is not None and held.watch.unwritten is not None:
                await asyncio.sleep(COMMIT_RETRY_S)

    def _settle(self, held: HeldPartition) -> None:
        if held.offsets is not None:
            self._member.quarantine.progressed(held.name, held.offsets.next_offset)

    async def _admitted(self, held: HeldPartition, batch: KafkaBatch) -> bool:
        """Commit what has to be on record before ``batch`` is dispatched; false if it is not ours.

        Waits while the broker is away: what is dispatched without a note could kill one process
        after the other.
        """
        if not len(batch):
            return True
        first, next_offset = batch.records[0].offset, batch.next_offset
        while self._member.current(held, batch.epoch):
            if held.admit(first, next_offset):
                return True
            await self._committer.commit_quietly()
            if self._member.current(held, batch.epoch) and not held.admit(first, next_offset):
                await asyncio.sleep(COMMIT_RETRY_S)
        return False

    async def _send_on(
        self, held: HeldPartition, batch: KafkaBatch, inbox: Sender[RecordBatch]
    ) -> None:
        """Track ``batch`` and send it into the channel."""
        member = self._member
        name = held.partition
        count, size_bytes = len(batch), batch.size_bytes
        if count:
            member.budget.take(name, records=count, size_bytes=size_bytes)
        counters = member.counters
        counters.records_in += count
        counters.bytes_in += size_bytes
        counters.batches += 1
        held.deliver(batch)
        if not batch.left:
            return  # nothing in it, or all of it was finished before
        began_s = batch.received_at_s
        self.blocked_since_s = began_s
        try:
            if inbox.overflow is _WAIT:
                await inbox.send(batch)
            else:  # nobody is there to be told that a record was refused
                await send_when_there_is_room(inbox, batch)
        except ChannelClosedError:
            member.stopping.set()
        self.blocked_since_s = None
        counters.backpressure_s += loop_time_s() - began_s
        self._records_sent += count
        self._bytes_sent += size_bytes
        if (
            not counters.more_in_hand
            or self._records_sent >= CHUNK_RECORDS
            or self._bytes_sent >= CHUNK_BYTES
        ):
            # Let the pipeline take it while it is warm in the processor's cache.
            self._records_sent = self._bytes_sent = 0
            await asyncio.sleep(0)
