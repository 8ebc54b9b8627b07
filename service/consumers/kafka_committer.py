"""Tells the broker what is durable: on a timer, to the group or with the results' transactions.

Knows neither the channel nor the fetches; what is safe to commit is each partition's own answer.
"""

import asyncio
from typing import Final

import structlog

from service.clock import loop_time_s
from service.consumers.base import (
    ClientFailedError,
    CommitRefusedError,
    CommittedOffset,
    TopicPartition,
    TopicsRefusedError,
    Transactions,
)
from service.consumers.kafka_member import Member
from service.consumers.kafka_partition import HeldPartition, Phase
from service.delivery.rests import Rests
from service.errors import (
    BrokerUnavailableError,
    FencedError,
    ServiceError,
    TransactionFailedError,
)

log = structlog.get_logger(__name__)

COMMIT_RETRY_S: Final = 0.5
"""Wait before another attempt of a commit that something has to wait for."""
_COMMITTED: Final = (Phase.RUNNING, Phase.HALTED)
"""Phases with a producer.  What was read before a partition was halted is finished as ever."""
REST_FIRST_S: Final = 0.1
REST_MAX_S: Final = 5.0
"""Longest rest of a partition whose transaction fails: a new producer does all of it again."""


class Committer:
    """Commits the progress of one member; never two commits at once.

    Args:
        member: Whose.

    Attributes:
        failing_since_s: ``loop.time()`` of the first commit that failed since one succeeded.
        rests: Which partitions are at rest since their transaction failed.
    """

    def __init__(self, member: Member) -> None:
        self.failing_since_s: float | None = None
        self.rests = Rests[TopicPartition](REST_FIRST_S, REST_MAX_S)
        self._member = member
        self._lock = asyncio.Lock()
        self._over = False

    async def run(self) -> None:
        """Commit on the timer, earlier when much is done; never two commits at once."""
        member = self._member
        interval_s = member.options.commit_interval_s
        while True:
            for _ in range(4):
                await asyncio.sleep(interval_s / 4)
                if member.finished_since_commit >= member.options.commit_records:
                    break
            await self.commit_quietly()

    async def commit_quietly(self) -> None:
        """Commit what is durable, and leave it to the next attempt if that fails."""
        try:
            await self.commit_due()
        except CommitRefusedError as exc:
            log.info("commit refused, the group is rebalancing", error=str(exc))
        except BrokerUnavailableError as exc:
            log.warning("commit failed, trying again", source=self._member.name, error=str(exc))

    async def commit_last(self) -> None:
        """Commit what is durable and say that everything is given up in order.

        Nothing is committed after it: a commit that waited meanwhile would say that we are here.

        Raises:
            CommitRefusedError: If the group has moved on.
            BrokerUnavailableError: If the outcome is unknown.
        """
        try:
            await self.commit_due(leaving=True)
        finally:
            self._over = True

    async def commit_due(self, *, leaving: bool = False) -> None:
        """Commit what is durable.

        Args:
            leaving: The assigned partitions are being given up in order.

        Raises:
            CommitRefusedError: If the group has moved on.
            BrokerUnavailableError: If the outcome is unknown.
        """
        member = self._member
        client = member.client
        async with self._lock:
            if client is None or self._over or not member.lease_valid():
                return
            member.finished_since_commit = 0
            if member.transactions is not None:
                await self._commit_transactions(member.transactions, leaving=leaving)
                return
            due = {
                name: offset
                for name in member.assigned
                if name.topic not in member.refusals
                and (offset := member.held[name].due(loop_time_s(), leaving=leaving)) is not None
            }
            if not due:
                return
            began_s = loop_time_s()
            try:
                await client.commit(due)
            except TopicsRefusedError as exc:
                member.refused(exc.topics)
                due = {name: due[name] for name in due if name.topic not in exc.topics}
            except ServiceError:
                member.counters.commit_failures += 1
                if self.failing_since_s is None:
                    self.failing_since_s = loop_time_s()
                raise
            self.failing_since_s = None
            member.counters.commits += 1
            now_s = member.last_contact_s = loop_time_s()
            member.counters.commit_durations.record(now_s - began_s)
            for name, offset in due.items():
                member.held[name].confirmed(offset, now_s)
            if member.tracing.uncommitted:
                positions = [
                    (at.topic, at.partition, offset.next_offset) for at, offset in due.items()
                ]
                member.tracing.committed(positions, since_s=began_s)

    async def _commit_transactions(self, transactions: Transactions, *, leaving: bool) -> None:
        """One transaction for each partition that has something to commit, side by side.

        Raises:
            ClientFailedError: If another member owns one of our partitions: rejoin.
        """
        member = self._member
        running = [
            held for name in member.assigned if (held := member.held[name]).phase in _COMMITTED
        ]
        if member.refusals:
            refused = [held for held in running if held.partition.topic in member.refusals]
            running = [held for held in running if held.partition.topic not in member.refusals]
            news = () if leaving else member.refusals.news()
            for held in refused:
                if held.partition.topic in news:  # its results would keep the room of the others'
                    self._begin_anew(held)
        answers = await asyncio.gather(
            *(self._commit_transaction(transactions, held, leaving=leaving) for held in running)
        )
        if not all(answers):
            raise ClientFailedError("fenced: another member has taken over a partition")

    async def _commit_transaction(
        self, transactions: Transactions, held: HeldPartition, *, leaving: bool
    ) -> bool:
        """One partition's transaction; false if the partition belongs to somebody else."""
        member = self._member
        name, epoch = held.partition, held.epoch
        due: list[CommittedOffset] = []

        def position() -> CommittedOffset | None:
            offset = held.due(loop_time_s(), leaving=leaving, exact=True)
            if offset is not None:
                due.append(offset)
            return offset

        try:
            committed = await transactions.commit(name, position)
        except FencedError as exc:
            log.warning("fenced", source=member.name, partition=str(name), error=str(exc))
            return False
        except TransactionFailedError as exc:
            member.counters.commit_failures += 1
            log.warning("transaction failed", source=member.name, error=str(exc))
            self.rests.failed(name, loop_time_s())
            if held.epoch == epoch and name in member.assigned:
                self._begin_anew(held)
            return True
        if committed:
            self.rests.worked(name)
            member.counters.commits += 1
            now_s = member.last_contact_s = loop_time_s()
            if held.epoch == epoch and held.phase in _COMMITTED:
                for offset in due:
                    held.confirmed(offset, now_s)
        return True

    def _begin_anew(self, held: HeldPartition) -> None:
        """Forget what is in hand and queued of a partition: it is done again from the commit on."""
        self._member.drop([held.partition])
        held.assign(loop_time_s())
