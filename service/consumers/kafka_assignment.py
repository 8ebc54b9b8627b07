"""Partitions that come and go: prepared when they are assigned, finished when they are revoked.

Decides where reading starts; reads nothing itself.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Final

import structlog

from service.clock import loop_time_s
from service.consumers.base import CommittedOffset, ConsumerClient, TopicPartition
from service.consumers.kafka_committer import Committer
from service.consumers.kafka_member import Member
from service.consumers.kafka_partition import HeldPartition, Phase
from service.errors import ServiceError

log = structlog.get_logger(__name__)

SETTLE_TIMEOUT_S: Final = 10.0
REVOKE_POLL_S: Final = 0.005


class Assignment:
    """Takes over and hands back the partitions of one member.

    Args:
        member: Whose.
        committer: Commits what is finished when partitions are revoked.

    Attributes:
        handed_over: Not set while partitions are being revoked.
    """

    def __init__(self, member: Member, committer: Committer) -> None:
        self._member = member
        self._committer = committer
        self._opening = member.opening
        self.handed_over = asyncio.Event()
        self.handed_over.set()

    async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        """The group takes ``partitions`` away: finish what runs, commit, let go."""
        self.handed_over.clear()
        try:
            await self._revoke(partitions)
        except Exception:
            # the client would only log it and go on as if all were well
            log.exception("revoke failed")
        finally:
            self.handed_over.set()

    async def _revoke(self, partitions: Collection[TopicPartition]) -> None:
        member = self._member
        client = member.client
        held = [member.held[p] for p in partitions if p in member.held and p in member.assigned]
        lost = client is None or not member.lease_valid() or client.health().generation < 0
        member.rebalancing_since_s = loop_time_s()
        for partition in held:
            partition.close()
        if lost:
            member.lose(partitions)
        else:
            await self._finish(held)
            try:
                await self._committer.commit_due(leaving=True)
            except ServiceError as exc:
                log.warning("commit at revoke failed", source=member.name, error=str(exc))
            member.drop(partitions)
        member.assigned -= frozenset(partitions)
        await self._opening.close(partitions)
        if held:
            log.info(
                "partitions lost" if lost else "partitions revoked",
                source=member.name,
                partitions=[str(partition.partition) for partition in held],
            )

    async def _finish(self, held: Collection[HeldPartition]) -> None:
        """Wait until nothing of ``held`` is in flight, up to the revoke deadline."""
        deadline_s = loop_time_s() + self._member.options.revoke_timeout_s
        # Polled, because an event would cost something at every acknowledgement.
        while loop_time_s() < deadline_s and any(each.delivered.in_flight for each in held):  # noqa: ASYNC110
            await asyncio.sleep(REVOKE_POLL_S)

    def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """``partitions`` is now the whole assignment; the poll loop prepares them."""
        member = self._member
        member.counters.rebalances += 1
        member.ever_assigned = True
        member.rebalancing_since_s = None
        self._opening.reassigned(member.held.keys(), partitions)
        member.assigned = member.awaited = frozenset(partitions)
        for name, known in member.held.items():
            if known.suspended and name not in member.assigned:
                member.abandon(known)
        member.budget.assign(member.assigned)
        for partition in partitions:
            held = member.held.get(partition)
            if held is None:
                held = HeldPartition(partition, quarantine=member.quarantine, source=member.name)
                member.held[partition] = held
            held.assign(loop_time_s())
        log.info(
            "partitions assigned",
            source=member.name,
            partitions=sorted(str(partition) for partition in partitions),
        )

    async def prepare(self, client: ConsumerClient) -> None:
        """Find the position of every newly assigned partition and start reading it."""
        member = self._member
        await self._opening.forget_moved()
        await self._judge_suspended(client)
        waiting = [
            held
            for name in member.assigned
            if (held := member.held[name]).phase is Phase.PREPARING
            and not held.suspended
            and held.doubt.may_ask(loop_time_s())
            and not self._committer.rests.resting(name, loop_time_s())
            and (held.delivered.settled or loop_time_s() - held.assigned_at_s > SETTLE_TIMEOUT_S)
            and self._opening.opened(held)
        ]
        if not waiting:
            return
        names = [held.partition for held in waiting]
        epochs = {held.partition: held.epoch for held in waiting}
        # a producer that was opened for an answer that was not believed stays open
        await self._opening.open_producers([h.partition for h in waiting if not h.doubt.pending])
        committed = await client.committed(names)
        waiting = [held for held in waiting if self._believes(held, epochs, committed)]
        fresh = [held.partition for held in waiting if held.partition not in committed]
        starts: dict[TopicPartition, int] = {}
        if fresh:
            ask = client.end_offsets
            if member.options.start == "earliest":
                ask = client.beginning_offsets
            starts = await ask(fresh)
        for held in waiting:
            name = held.partition
            if not self._current(held, epochs):
                continue
            member.abandon(held)
            position = held.resume(committed.get(name), starts.get(name, 0))
            client.seek(name, position)
            log.info("partition ready", source=member.name, partition=str(name), position=position)
        # One commit opens them all; what it does not reach, the first dispatch waits for.  Where
        # each has a transaction of its own it is not tried before a fetch has shown that the topic
        # may be read: one that is refused costs a producer.
        if member.transactions is None:
            await self._committer.commit_quietly()

    async def _judge_suspended(self, client: ConsumerClient) -> None:
        """Let what is in hand of partitions that came back be published, if nobody had them."""
        member = self._member
        back = {
            name: held.epoch
            for name in member.assigned
            if (held := member.held[name]).suspended and held.doubt.may_ask(loop_time_s())
        }
        if not back:
            return
        committed = await client.committed(back)
        for name in back:
            held = member.held[name]
            if not self._believes(held, back, committed):
                continue
            untouched = held.untouched(committed.get(name))
            if untouched:
                held.reinstate()
            else:
                member.abandon(held)
            log.info(
                "partition came back",
                source=member.name,
                partition=str(name),
                untouched=untouched,
            )

    def _believes(
        self,
        held: HeldPartition,
        epochs: Mapping[TopicPartition, int],
        committed: Mapping[TopicPartition, CommittedOffset],
    ) -> bool:
        """Whether an answer is about this assignment and may be true."""
        return self._current(held, epochs) and held.believes(
            committed.get(held.partition), loop_time_s()
        )

    def _current(self, held: HeldPartition, epochs: Mapping[TopicPartition, int]) -> bool:
        """Whether a partition was not reassigned while we asked."""
        name = held.partition
        return name in self._member.assigned and held.epoch == epochs[name]
