"""The Kafka source: a supervised group member that feeds one pipeline and commits its progress.

Three things run side by side while a client lives: the intake (fetched batches into the
channel, never beyond the memory budget), the committer (what is durable, on a timer) and the
watchdog (is the client alive, does the group still hear us).  When the client fails, all three
end and a new client is built; the partitions' progress survives it.

The parts share one :class:`~service.consumers.kafka_member.Member` and nothing else; each is a
module of its own.
"""

import asyncio
import contextlib
import gc
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from service.channels import Sender
from service.clock import loop_time_s
from service.consumers.base import ConsumerClient, TopicPartition
from service.consumers.kafka_admission import Admission
from service.consumers.kafka_assignment import Assignment
from service.consumers.kafka_committer import Committer
from service.consumers.kafka_intake import Intake
from service.consumers.kafka_member import Member
from service.consumers.kafka_partition import HeldPartition
from service.consumers.kafka_watchdog import Watchdog
from service.delivery.backoff import Backoff
from service.errors import FatalError, ServiceError, first_error
from service.events import Permission, RecordBatch

log = structlog.get_logger(__name__)

BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MAX_S: Final = 5.0
"""Also bounds how long a broker's return goes unnoticed."""
COLLECT_EVERY_S: Final = 60.0
"""Shortest time between two looks for what replaced clients leave: each takes a while."""


class KafkaSource:
    """A member of a consumer group, as a source of one pipeline.

    Args:
        member: What the parts share.
        make_client: Builds a new client; called again after each failure.
        group: The consumer group, for status and metrics.

    Attributes:
        abandoned: After :meth:`close`: where handling has begun and not ended, the lowest
            unfinished record of each such partition.
        returned: After :meth:`close`: how many records were read and are not durable.
        uncommitted: After :meth:`close`: partitions whose progress the broker has not confirmed.
    """

    def __init__(
        self, member: Member, make_client: Callable[[], ConsumerClient], *, group: str
    ) -> None:
        self.name = member.name
        self.group = group
        self.abandoned: list[str] = []
        self.returned = 0
        self.uncommitted: list[str] = []
        self._make_client = make_client
        self._member = member
        self._opening = member.opening
        self._committer = Committer(member)
        self._assignment = Assignment(member, self._committer)
        self._admission = Admission(member, self._committer)
        self._intake = Intake(member, self._assignment, self._admission)
        self._watchdog = Watchdog(member, self._intake)
        self._inbox: Sender[RecordBatch] | None = None
        self._closing = asyncio.Event()
        self._closed = asyncio.Event()

    # -- what others may ask ---------------------------------------------------------------

    @property
    def partitions(self) -> Sequence[HeldPartition]:
        """Assigned partitions, for status and metrics; in a rebalance those of before."""
        member = self._member
        return [member.held[partition] for partition in sorted(member.assigned or member.awaited)]

    @property
    def connected(self) -> bool:
        """Whether the group has accepted this member at least once and still hears it."""
        member = self._member
        return member.ever_assigned and member.client is not None and not member.silent

    @property
    def ever_accepted(self) -> bool:
        """Whether the group has accepted this member at least once."""
        return self._member.ever_assigned

    @property
    def last_contact_s(self) -> float | None:
        """``loop.time()`` of the last sign of life of a broker; ``None`` before the first."""
        return self._member.last_contact_s

    def permission(self, topic: str, partition: int) -> Permission | None:
        """Whether work on a partition may go on; ``None`` if it was never read here."""
        if TopicPartition(topic, partition) not in self._member.held:
            return None
        return Permission.GO if self._member.lease_valid() else Permission.WAIT

    def lag(self, partition: HeldPartition) -> int | None:
        """Records that are stored and not yet durable here; ``None`` while unknown."""
        client = self._member.client
        end = self._member.refusals.end(partition.partition)
        if end is None and client is not None:
            end = client.end_offset_seen(partition.partition)
        if end is None or partition.offsets is None:
            return None
        return max(0, end - partition.offsets.next_offset)

    def unread(self, topic: str, partition: int) -> bool:
        """Whether a partition of ours has records that are stored and not yet durable here."""
        held = self._member.held.get(TopicPartition(topic, partition))
        return held is not None and bool(self.lag(held))

    def commit_failing_s(self) -> float:
        """For how long commits have been failing."""
        return _since(self._committer.failing_since_s)

    def intake_blocked_s(self) -> float:
        """For how long the intake has been waiting for room in the channel."""
        return _since(self._admission.blocked_since_s)

    def rebalancing_s(self) -> float:
        """For how long the group has been without an assignment for us."""
        return _since(self._member.rebalancing_since_s)

    def refused(self, partition: HeldPartition) -> bool:
        """Whether the broker does not let us read the partition's topic."""
        return partition.partition.topic in self._member.refusals

    def restoring_s(self, partition: HeldPartition) -> float:
        """For how long the state of a partition has been restored; 0 if it is not."""
        restoring = self._opening.restoring(partition.partition)
        return _since(partition.assigned_at_s if restoring else None)

    # -- lifecycle -------------------------------------------------------------------------

    async def run(self, inbox: Sender[RecordBatch]) -> None:
        """Feed ``inbox`` until :meth:`stop_intake`, rebuilding the client whenever it fails.

        Returns after :meth:`close`; ``inbox`` is closed as soon as intake has ended.
        """
        self._inbox = inbox
        backoff = Backoff(initial_s=BACKOFF_FIRST_S, max_s=BACKOFF_MAX_S)
        collected_at_s = float("-inf")
        try:
            while not self._closing.is_set():
                began_s = loop_time_s()
                try:
                    await self._live(self._make_client(), inbox)
                except FatalError:
                    raise
                except (ServiceError, OSError) as exc:
                    log.warning("kafka client failed", source=self.name, error=str(exc))
                except Exception:
                    # Whatever the client came up with, a new one is the answer; the partitions'
                    # progress survives it.
                    log.exception("kafka client failed in a way nobody foresaw", source=self.name)
                if not self._closing.is_set() and loop_time_s() - collected_at_s >= COLLECT_EVERY_S:
                    # The old client is thousands of objects in cycles, with what it had fetched,
                    # and the collector looks so rarely that each outage would add another one.
                    gc.collect()
                    collected_at_s = loop_time_s()
                if self._member.stopping.is_set():
                    inbox.close()
                if loop_time_s() - began_s > 10 * BACKOFF_MAX_S:
                    backoff.reset()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(backoff.next_s()):
                        await self._closing.wait()
        finally:
            inbox.close()
            self._closed.set()

    def stop_intake(self) -> None:
        """Take nothing more from Kafka; what was accepted goes on."""
        self._member.stopping.set()
        if self._member.client is None and self._inbox is not None:
            self._inbox.close()  # nobody is connected: nothing more will come

    def begin_nothing_more(self) -> None:
        """After :meth:`stop_intake`: let what has begun end, and leave the rest in its topic."""
        self._member.begin_nothing_more()

    @property
    def in_flight(self) -> int:
        """Records whose handling or publishing is under way."""
        return self._member.in_flight

    async def close(self, deadline_s: float) -> None:
        """Commit what is durable, leave the group, and let :meth:`run` return."""
        member = self._member
        member.stopping.set()
        try:
            async with asyncio.timeout(deadline_s):
                if not member.in_flight:  # then it is a commit away, and nothing is left here
                    await self._assignment.handed_over.wait()
                await self._committer.commit_last()
        except (TimeoutError, ServiceError) as exc:
            log.warning("last commit failed", source=self.name, error=repr(exc))
        self.uncommitted = member.uncommitted()
        self.abandoned = member.abandoned()
        self.returned = member.returned()
        self._closing.set()
        if member.client is None:
            return  # connecting, or between two attempts: the caller cancels run()
        try:
            async with asyncio.timeout(deadline_s):
                await self._closed.wait()
        except TimeoutError:
            log.warning("the kafka client did not close in time", source=self.name)

    async def _live(self, client: ConsumerClient, inbox: Sender[RecordBatch]) -> None:
        """One client's life."""
        member = self._member
        self._intake.fetching = False
        try:
            await client.start(self._assignment)
            member.client = client
            member.lease.give_up()  # the last client's
            member.silent = False
            await self._until_failure_or_close(client, inbox)
        finally:
            member.client = None
            assigned, member.assigned = member.assigned, frozenset()
            if self._closing.is_set():
                member.drop(member.held)
            else:
                member.lose(assigned)
            await self._opening.close(assigned)
            await client.stop()

    async def _until_failure_or_close(
        self, client: ConsumerClient, inbox: Sender[RecordBatch]
    ) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                self._opening.tasks = tasks
                committer = tasks.create_task(self._committer.run())
                watchdog = tasks.create_task(self._watchdog.run(client))
                await self._intake.run(client, inbox)
                inbox.close()
                await self._closing.wait()
                committer.cancel()
                watchdog.cancel()
                self._opening.cancel()
        except* ServiceError as group:
            raise first_error(group) from group
        finally:
            self._opening.clear()


def _since(at_s: float | None) -> float:
    return 0.0 if at_s is None else loop_time_s() - at_s
