"""The edge to aiokafka's consumer: every call has a deadline, every error is ours.

The client object is disposable.  What its own tasks do not survive, what they hide (heartbeats
that go unanswered, metadata that stays old) and what can hang is made visible here as
:class:`~service.consumers.base.ClientHealth` or ended by a deadline; the Kafka source decides
when to replace the client.  The private names that this takes are in :data:`PRIVATE_NAMES` and
pinned by a test.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.group import SyncGroupRequest
from aiokafka.structs import OffsetAndMetadata

from service.clock import loop_time_s
from service.consumers.base import (
    AssignmentListener,
    ClientHealth,
    CommitRefusedError,
    CommittedOffset,
    Fetched,
    TopicPartition,
    TopicsRefusedError,
    partition_set,
)
from service.consumers.kafka_answers import keep_member, refuse_unanswered
from service.consumers.kafka_closing import quietly
from service.consumers.kafka_making import make_consumer
from service.consumers.kafka_tap import Tap, client_partition, make_tap
from service.consumers.room import first_of
from service.errors import BrokerUnavailableError

PRIVATE_NAMES: Final = {
    "GroupCoordinator": (
        "_coordination_task",
        "_heartbeat_task",
        "_commit_refresh_task",
        "_do_heartbeat",
        "_send_req",
        "coordinator_dead",
        "generation",
        "member_id",
        "reset_generation",
        "fetch_committed_offsets",
    ),
    "Fetcher": ("_fetch_task",),
    "AIOKafkaClient": ("_sync_task", "cluster"),
    "ClusterMetadata": ("_last_successful_refresh_ms",),
}
"""What is used of the client beyond its public names, by class."""

FIXED_OPTIONS: Final[Mapping[str, Any]] = {
    "enable_auto_commit": False,
    "auto_offset_reset": "none",
    "isolation_level": "read_committed",
    # one assignor only: the client asks the group to join once for each of them
    "partition_assignment_strategy": (StickyPartitionAssignor,),
}
"""Client settings that the guarantees depend on."""

CONNECT_TIMEOUT_S: Final = 15.0
CALL_TIMEOUT_S: Final = 5.0
STOP_TIMEOUT_S: Final = 3.0


class KafkaConsumerClient:
    """One consumer, from :meth:`start` to :meth:`stop`.

    Args:
        topics: Topics to subscribe to.
        group_id: Consumer group.
        options: Connection and client settings, below :data:`FIXED_OPTIONS`.
    """

    def __init__(self, topics: Collection[str], group_id: str, options: Mapping[str, Any]) -> None:
        self._topics = tuple(topics)
        self._group_id = group_id
        self._options = {**options, **FIXED_OPTIONS}
        self._consumer: AIOKafkaConsumer | None = None
        self._tap: Tap | None = None
        self._last_heartbeat_at_s = 0.0
        self._synced_at_s = 0.0
        self._committing_in = -1
        self._throttled_until_s = 0.0
        self._refreshed_ms = 0.0
        self._refreshed_at_s = 0.0

    async def start(self, listener: AssignmentListener) -> None:
        """See :meth:`service.consumers.base.ConsumerClient.start`."""
        # Topics are subscribed after the start: with them, start() waits for an assignment
        # without a limit.
        self._consumer = make_consumer(group_id=self._group_id, **self._options)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._consumer.start()
        except (KafkaError, OSError, TimeoutError) as exc:
            raise BrokerUnavailableError(f"cannot connect: {exc!r}") from exc
        self._last_heartbeat_at_s = self._synced_at_s = self._refreshed_at_s = loop_time_s()
        self._watch_coordinator()
        self._watch_quotas()
        self._tap = make_tap(self._consumer)
        self._consumer.subscribe(
            topics=list(self._topics), listener=_Listener(listener, self._joined)
        )

    def _joined(self) -> None:
        """A completed join is as good as a heartbeat."""
        self._last_heartbeat_at_s = max(self._last_heartbeat_at_s, self._synced_at_s)

    def _watch_coordinator(self) -> None:
        """Note when each heartbeat and join that is answered was *sent*; the client tells nobody.

        Not when the answer is read: a process that was stopped in between wakes up, reads it, and
        would believe that the group has just heard it.
        """
        coordinator: Any = self._require()._coordinator  # noqa: SLF001
        beat: Callable[[], Awaitable[bool]] = coordinator._do_heartbeat  # noqa: SLF001
        ask: Callable[[Any], Awaitable[Any]] = coordinator._send_req  # noqa: SLF001

        async def noted_beat() -> bool:
            sent_at_s = loop_time_s()
            answered = await beat()
            if answered:
                self._last_heartbeat_at_s = max(self._last_heartbeat_at_s, sent_at_s)
            return answered

        async def noted_ask(request: Any) -> Any:
            sent_at_s = loop_time_s()
            if (
                isinstance(request, OffsetCommitRequest)
                and coordinator.generation != self._committing_in
            ):
                # The client tries again in whatever generation there is by then; but another
                # owner may have committed between the two, and this would take its place.
                raise CommitFailedError("the group has moved on")
            answer = await ask(request)
            if isinstance(request, SyncGroupRequest):
                self._synced_at_s = sent_at_s
            elif isinstance(request, OffsetCommitRequest):
                keep_member(coordinator, answer)
            elif isinstance(request, OffsetFetchRequest):
                refuse_unanswered(coordinator, answer)
            return answer

        coordinator._do_heartbeat = noted_beat  # noqa: SLF001
        coordinator._send_req = noted_ask  # noqa: SLF001

    def _watch_quotas(self) -> None:
        """Note how long a broker holds us back for a quota; the client does not look at it."""
        client: Any = self._require()._client  # noqa: SLF001
        send: Callable[..., Awaitable[Any]] = client.send

        async def noted_send(*arguments: Any, **options: Any) -> Any:
            answer = await send(*arguments, **options)
            throttle_ms = getattr(answer, "throttle_time_ms", 0)
            if throttle_ms > 0:
                self._throttled_until_s = loop_time_s() + throttle_ms / 1000
            return answer

        client.send = noted_send

    async def stop(self) -> None:
        """See :meth:`service.consumers.base.ConsumerClient.stop`."""
        consumer, self._consumer, self._tap = self._consumer, None, None
        if consumer is None:
            return
        await quietly(consumer.stop(), STOP_TIMEOUT_S)
        for task in _client_tasks(consumer).values():
            if task is not None and not task.done():
                task.cancel()
        # stop() can fail before it reaches this, and then leaves the sockets open
        await quietly(consumer._client.close(), STOP_TIMEOUT_S)  # noqa: SLF001

    def arrived(self) -> Collection[TopicPartition]:
        """See :meth:`service.consumers.base.ConsumerClient.arrived`."""
        return self._tap.arrived() if self._tap is not None else ()

    def take(self, partitions: Collection[TopicPartition]) -> list[Fetched]:
        """See :meth:`service.consumers.base.ConsumerClient.take`."""
        return self._tap.take(partitions) if self._tap is not None else []

    async def wait(self, timeout_s: float, until: asyncio.Future[None] | None = None) -> None:
        """See :meth:`service.consumers.base.ConsumerClient.wait`."""
        if self._tap is None:
            await first_of((), until, timeout_s)
        else:
            await self._tap.wait(timeout_s, until)

    def seek(self, partition: TopicPartition, position: int) -> None:
        """See :meth:`service.consumers.base.ConsumerClient.seek`."""
        if self._consumer is not None:
            # It asserts while it has no assignment at all, as after a long pause of the process.
            with contextlib.suppress(IllegalStateError, AssertionError):
                self._consumer.seek(client_partition(partition), position)

    async def commit(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """See :meth:`service.consumers.base.ConsumerClient.commit`."""
        consumer = self._require()
        coordinator: Any = consumer._coordinator  # noqa: SLF001
        self._committing_in = coordinator.generation
        if self._committing_in < 0:
            # an empty group takes commits from anybody
            raise CommitRefusedError("not in the group")
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await consumer.commit(
                    {
                        client_partition(partition): OffsetAndMetadata(*offset)
                        for partition, offset in offsets.items()
                    }
                )
        except (CommitFailedError, IllegalStateError) as exc:
            raise CommitRefusedError(repr(exc)) from exc
        except TopicAuthorizationFailedError as exc:  # and there was no other error
            raise TopicsRefusedError(exc.args[0]) from exc
        except (KafkaError, OSError, TimeoutError) as exc:
            raise BrokerUnavailableError(f"commit: {exc!r}") from exc

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, CommittedOffset]:
        """See :meth:`service.consumers.base.ConsumerClient.committed`.

        Not the client's public ``committed()``: it drops the metadata.
        """
        coordinator: Any = self._require()._coordinator  # noqa: SLF001
        answer = await self._ask(
            coordinator.fetch_committed_offsets([client_partition(p) for p in partitions])
        )
        return {
            TopicPartition(key.topic, key.partition): CommittedOffset(at.offset, at.metadata or "")
            for key, at in answer.items()
        }

    async def beginning_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """See :meth:`service.consumers.base.ConsumerClient.beginning_offsets`."""
        wanted = [client_partition(partition) for partition in partitions]
        answer = await self._ask(self._require().beginning_offsets(wanted))
        return {TopicPartition(key.topic, key.partition): at for key, at in answer.items()}

    async def end_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """See :meth:`service.consumers.base.ConsumerClient.end_offsets`."""
        wanted = [client_partition(partition) for partition in partitions]
        answer = await self._ask(self._require().end_offsets(wanted))
        return {TopicPartition(key.topic, key.partition): at for key, at in answer.items()}

    async def _ask(self, question: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await question
        except (KafkaError, OSError, TimeoutError) as exc:
            raise BrokerUnavailableError(repr(exc)) from exc

    def end_offset_seen(self, partition: TopicPartition) -> int | None:
        """See :meth:`service.consumers.base.ConsumerClient.end_offset_seen`."""
        if self._consumer is None:
            return None
        try:
            end: int | None = self._consumer.highwater(client_partition(partition))
        except (IllegalStateError, AssertionError, AttributeError):
            return None
        return end

    def readable_end_seen(self, partition: TopicPartition) -> int | None:
        """See :meth:`service.consumers.base.ConsumerClient.readable_end_seen`."""
        end = self.end_offset_seen(partition)
        if end is None or self._consumer is None:
            return end
        stable: int | None = self._consumer.last_stable_offset(client_partition(partition))
        # none, or a negative one, from brokers that do not tell it
        return end if stable is None or stable < 0 else min(end, stable)

    def health(self) -> ClientHealth:
        """See :meth:`service.consumers.base.ConsumerClient.health`."""
        consumer = self._require()
        coordinator: Any = consumer._coordinator  # noqa: SLF001
        # The client notes it by the wall clock, which can be set: when it changes is what counts.
        cluster = consumer._client.cluster  # noqa: SLF001
        refreshed_ms = cluster._last_successful_refresh_ms  # noqa: SLF001
        if refreshed_ms != self._refreshed_ms:
            self._refreshed_ms, self._refreshed_at_s = refreshed_ms, loop_time_s()
        return ClientHealth(
            last_heartbeat_at_s=self._last_heartbeat_at_s,
            last_metadata_at_s=self._refreshed_at_s,
            generation=coordinator.generation,
            failed=_failure(consumer),
            rebalancing=consumer._subscription.reassignment_in_progress,  # noqa: SLF001
            throttled_until_s=self._throttled_until_s,
            missing=[
                name
                for name in self._topics
                if cluster.partitions_for_topic(name) is None
                and name not in cluster.unauthorized_topics
            ],
            hidden=[name for name in self._topics if name in cluster.unauthorized_topics],
        )

    def _require(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise BrokerUnavailableError("the client is closed")
        return self._consumer


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Hands the client's callbacks on, in our own types."""

    def __init__(self, listener: AssignmentListener, joined: Callable[[], None]) -> None:
        self._listener = listener
        self._joined = joined

    # The base's body is empty, hence no coroutine; the client awaits one.
    async def on_partitions_revoked(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, revoked: Collection[Any]
    ) -> None:
        await self._listener.on_revoked(partition_set(revoked))

    def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        self._joined()
        self._listener.on_assigned(partition_set(assigned))


def _client_tasks(consumer: AIOKafkaConsumer) -> "dict[str, asyncio.Task[Any] | None]":
    """The client's own tasks: it goes silent when one of them ends."""
    coordinator = consumer._coordinator  # noqa: SLF001
    fetcher = consumer._fetcher  # noqa: SLF001
    return {
        "fetcher": getattr(fetcher, "_fetch_task", None),
        "coordination": getattr(coordinator, "_coordination_task", None),
        "heartbeat": getattr(coordinator, "_heartbeat_task", None),
        "metadata": consumer._client._sync_task,  # noqa: SLF001
    }


def _failure(consumer: AIOKafkaConsumer) -> str | None:
    for name, task in _client_tasks(consumer).items():
        if task is None or not task.done():
            continue
        if name == "heartbeat" and (task.cancelled() or task.exception() is None):
            continue  # ends normally before each rejoin
        reason = "cancelled" if task.cancelled() else repr(task.exception())
        return f"the client's {name} task has ended: {reason}"
    return None
