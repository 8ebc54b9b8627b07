"""The poll loop: stored batches out of the client, cut into batches of ours, within the budget.

It never blocks the group: heartbeats and rebalances run in the client's own tasks.  What cannot
be read (a corrupt batch, a position that is gone) is decided by policy here.
"""

import contextlib
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Final, NamedTuple

import structlog

from service.channels import Sender
from service.clock import loop_time_s, wall_clock_ms
from service.consumers.base import (
    ConsumerClient,
    CorruptBatchError,
    Fetched,
    MixedBatchError,
    OffsetGoneError,
    TopicPartition,
    TopicsRefusedError,
)
from service.consumers.kafka_admission import Admission
from service.consumers.kafka_assignment import Assignment
from service.consumers.kafka_member import Member
from service.consumers.kafka_partition import HeldPartition, Phase
from service.errors import BrokerUnavailableError
from service.events import CHUNK_BYTES, CHUNK_RECORDS, Failure, Record, RecordBatch, SourceRecord

log = structlog.get_logger(__name__)

NEXT_RECORDS: Final = 1024
"""Records that must still find room in the commit's metadata before more are taken."""
POLL_WAIT_S: Final = 0.1


class _Kept(NamedTuple):
    """The undecoded rest of a fetch, and the assignment that it belongs to."""

    epoch: int
    answer: Fetched


class Intake:
    """Reads the partitions of one member.

    Args:
        member: Whose.
        assignment: Prepares partitions before they are read.
        admission: Sends batches into the channel.

    Attributes:
        fetching: Whether it waits for the client, rather than for room.
    """

    def __init__(self, member: Member, assignment: Assignment, admission: Admission) -> None:
        self.fetching = False
        self._member = member
        self._assignment = assignment
        self._admission = admission
        # Fetched, not decoded, and no room for it when its turn came.  Stored batches may unpack
        # to many times their size, so what a fetch will take is not known before.
        self._kept: dict[TopicPartition, _Kept] = {}

    async def run(self, client: ConsumerClient, inbox: Sender[RecordBatch]) -> None:
        """Feed ``inbox`` from ``client`` until intake is to stop."""
        member = self._member
        counters = member.counters
        self._kept.clear()  # of a client before this one
        counters.more_in_hand = False
        while not member.stopping.is_set():
            await self._assignment.prepare(client)
            if member.refusals:
                await self._look_after_refused(client)
            # asked of what has come only, as a fetch brings a few of perhaps many partitions
            come = self._come(client)
            ready = {name for name in come if self.has_room(name)}
            epochs = {name: member.held[name].epoch for name in ready}
            try:
                fetched = client.take(ready.difference(self._kept))
            except OffsetGoneError as exc:
                await self._reset(client, exc)
                continue
            except TopicsRefusedError as exc:
                member.refused(exc.topics)
                continue
            fetched += self._take_kept(ready)
            if come != ready:
                member.opening.hasten()  # what is full may wait for state to become durable
            if not fetched:
                began_s = loop_time_s()
                self.fetching = True
                # the client fetches nothing more of what it still has: no answer would end the wait
                await client.wait(POLL_WAIT_S, member.room.wanted(come - ready))
                self.fetching = False
                if any(map(self._may_be_read, come - ready)):  # something is there, and no room
                    counters.backpressure_s += loop_time_s() - began_s
                else:
                    counters.poll_s += loop_time_s() - began_s
                continue
            member.last_contact_s = loop_time_s()
            self._read(fetched)
            for place, answer in enumerate(fetched, 1):
                # Its partition may have come and gone while the answers before it waited for room.
                # Reading begins elsewhere then, and what lies between would pass for a hole.
                if member.held[answer.partition].epoch == epochs[answer.partition]:
                    await self._accept(answer, inbox, last=place == len(fetched))
            counters.more_in_hand = False

    def _come(self, client: ConsumerClient) -> AbstractSet[TopicPartition]:
        """Partitions of which there may be something, an error too, and that are not at rest."""
        member = self._member
        come = {*client.arrived(), *self._kept} & member.assigned
        if member.refusals:
            come = {name for name in come if not self._resting(name)}
        return come

    def has_room(self, name: TopicPartition) -> bool:
        """Whether a fetch of the partition could be taken now."""
        if not self._may_be_read(name):
            return False
        member = self._member
        return member.budget.has_room(name) and member.held[name].has_metadata_room(NEXT_RECORDS)

    def _may_be_read(self, name: TopicPartition) -> bool:
        """Whether nothing but room could be missing."""
        held = self._member.held.get(name)
        if held is None or held.phase is not Phase.RUNNING or held.closing:
            return False
        if not self._member.lease_valid() or self._resting(name):
            return False
        return not held.hold.until_s or held.hold.until_s <= loop_time_s()

    def _resting(self, name: TopicPartition) -> bool:
        """Whether its topic was refused, and is not to be tried yet."""
        return self._member.refusals.resting(name.topic)

    def _read(self, fetched: Sequence[Fetched]) -> None:
        """Where something was read, the right is there again."""
        member = self._member
        for answer in fetched if member.refusals else ():
            if member.refusals.read(topic := answer.partition.topic):
                log.info("input topic may be read", source=member.name, topic=topic)

    async def _look_after_refused(self, client: ConsumerClient) -> None:
        """Have what was refused fetched anew, each topic when its rest is over.

        And ask where it ends: no fetch tells how far we are behind.
        """
        member = self._member
        now_s = loop_time_s()
        for topic in member.refusals.over(now_s):
            log.info("input topic may be read", source=member.name, topic=topic)
        due = member.refusals.due(now_s)
        for topic in member.refusals.unmeasured():
            names = [name for name in member.assigned if name.topic == topic]
            with contextlib.suppress(BrokerUnavailableError):
                member.refusals.ends_are(topic, await client.end_offsets(names))
        for name in member.assigned:
            held = member.held[name]
            if name.topic in due and held.phase is Phase.RUNNING:
                # What was fetched before is old, or has lost what came before it.
                self._kept.pop(name, None)
                client.seek(name, held.expected_offset)

    def _take_kept(self, ready: AbstractSet[TopicPartition]) -> list[Fetched]:
        """What was kept for partitions that have room now, as far as it still is ours."""
        if not self._kept:
            return []
        taken = [self._kept.pop(name) for name in ready & self._kept.keys()]
        held = self._member.held
        return [kept.answer for kept in taken if kept.epoch == held[kept.answer.partition].epoch]

    async def _accept(self, answer: Fetched, inbox: Sender[RecordBatch], *, last: bool) -> None:
        """Cut one partition's answer into batches of ours and send them on.

        Args:
            answer: The answer.
            inbox: Where batches go.
            last: Whether nothing else was fetched with it.
        """
        member = self._member
        counters = member.counters
        counters.more_in_hand = True
        held = member.held[answer.partition]
        epoch = held.epoch
        send, batch = self._admission.send, partial(self._admission.batch, held, epoch)
        records: list[Record] = []
        size_bytes = 0
        position = answer.position
        batches = list(answer.batches)
        for place, stored in enumerate(batches):
            if not records and not self.has_room(answer.partition):
                left = Fetched(answer.partition, position, batches[place:])
                self._kept[answer.partition] = _Kept(epoch, left)
                return
            try:
                decoded = _from(answer.position, stored.decode())
            except MixedBatchError as exc:
                batches[place + 1 : place + 1] = exc.parts
                continue
            except CorruptBatchError as exc:
                await send(batch(records, position, size_bytes), inbox)
                records, size_bytes, position = [], 0, exc.next_offset
                if held.epoch != epoch or not await self._corrupt(held, exc, inbox):
                    return
                continue
            due = self._due(held, decoded, batches[-1].next_offset - 1)
            if due < len(decoded):
                records.extend(decoded[:due])
                position = decoded[due].offset
                await send(batch(records, position, size_bytes), inbox)
                if member.client is not None and held.epoch == epoch:
                    member.client.seek(held.partition, position)  # the rest is read when it is due
                return
            records.extend(decoded)
            size_bytes += stored.size_bytes
            position = stored.next_offset
            while len(records) >= 2 * CHUNK_RECORDS:
                share = size_bytes * CHUNK_RECORDS // len(records)
                part, records = records[:CHUNK_RECORDS], records[CHUNK_RECORDS:]
                await send(batch(part, records[0].offset, share), inbox)
                size_bytes -= share
            if len(records) >= CHUNK_RECORDS or size_bytes >= CHUNK_BYTES:
                counters.more_in_hand = not last or place + 1 < len(batches)
                await send(batch(records, position, size_bytes), inbox)
                records, size_bytes = [], 0
        counters.more_in_hand = not last
        await send(batch(records, position, size_bytes), inbox)

    def _due(self, held: HeldPartition, records: Sequence[Record], newest: int) -> int:
        """How many of ``records`` may be handled by now; all that are of no delay topic."""
        delay_s = self._member.options.delay_s
        if delay_s is None:
            return len(records)
        return held.hold.due(
            records, newest, delay_s=delay_s, now_ms=wall_clock_ms(), now_s=loop_time_s()
        )

    async def _corrupt(
        self, held: HeldPartition, error: CorruptBatchError, inbox: Sender[RecordBatch]
    ) -> bool:
        """Apply the policy for a batch that cannot be decoded; true to go on behind it."""
        member = self._member
        log.error(
            "stored batch cannot be decoded",
            source=member.name,
            partition=str(error.partition),
            first_offset=error.first_offset,
            next_offset=error.next_offset,
            reason=error.reason,
            policy=member.options.undecodable,
        )
        if member.options.undecodable == "halt":
            held.phase = Phase.HALTED
            return False
        marker = SourceRecord(None, offset=max(error.first_offset, held.expected_offset))
        batch = self._admission.batch(held, held.epoch, [marker], error.next_offset, 0)
        batch.failure = Failure("batch", error.reason, stage="fetch")
        await self._admission.send(batch, inbox)
        return True

    async def _reset(self, client: ConsumerClient, error: OffsetGoneError) -> None:
        """The position is not in the log any more: apply the named policy, and say so."""
        member = self._member
        held = member.held.get(error.partition)
        if held is None or held.phase is not Phase.RUNNING:
            return
        name = error.partition
        policy = member.options.out_of_range
        log.error(
            "offset out of range",
            source=member.name,
            partition=str(name),
            position=error.position,
            policy=policy,
        )
        if policy == "halt":
            held.phase = Phase.HALTED
            return
        ask = client.beginning_offsets if policy == "earliest" else client.end_offsets
        epoch = held.epoch
        position = (await ask([name]))[name]
        if held.epoch != epoch or name not in member.assigned:
            return  # it went meanwhile: whoever has it now finds out for itself
        member.counters.offset_resets += 1
        if position >= held.expected_offset:
            # What was read before is in hand all the same, and what is gone a hole behind it.
            held.deliver(self._admission.batch(held, epoch, (), position, 0))
            client.seek(name, position)
            return
        member.drop([name])
        held.assign(loop_time_s())
        epoch = held.epoch
        await member.opening.restore(name)
        if held.epoch != epoch or name not in member.assigned:
            return
        held.restart(position)
        client.seek(name, position)


def _from(position: int, records: Sequence[Record]) -> Sequence[Record]:
    """Those of ``records`` that were asked for: a stored batch comes as a whole."""
    if not records or records[0].offset >= position:
        return records
    return [record for record in records if record.offset >= position]
