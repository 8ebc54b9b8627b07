"""The Kafka source: a supervised group member that feeds one pipeline and commits its progress.

Three things run side by side while a client lives: the poll loop (fetched batches into the
channel, never beyond the memory budget), the committer (what is durable, on a timer) and the
watchdog (is the client alive, does the group still hear us).  When the client fails, all three
end and a new client is built; the partitions' progress survives it.

The poll loop never blocks the group: heartbeats and rebalances run in the client's own tasks,
and a revoke waits only for what is in flight, up to its deadline.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import structlog

from service.channels import Sender
from service.clock import wall_clock_ms
from service.consumers.base import (
    ClientFailedError,
    CommitRefusedError,
    CommittedOffset,
    ConsumerClient,
    CorruptBatchError,
    Fetched,
    OffsetGoneError,
    SourceTracing,
    StateKeeper,
    TopicPartition,
    Transactions,
)
from service.consumers.kafka_partition import HeldPartition, Phase, SourcePartition
from service.delivery.budget import MemoryBudget
from service.delivery.delays import not_before_ms
from service.delivery.quarantine import UNLIMITED, Quarantine
from service.errors import (
    BrokerUnavailableError,
    ChannelClosedError,
    FatalError,
    FencedError,
    ServiceError,
    TransactionFailedError,
)
from service.events import Failure, Record, RecordBatch, SourceRecord
from service.metrics import PipelineCounters

log = structlog.get_logger(__name__)

CHUNK_RECORDS: Final = 1024
"""Records in one batch of ours; small stored batches are merged up to it."""
CHUNK_BYTES: Final = 512 * 1024
POLL_WAIT_S: Final = 0.1
WATCH_INTERVAL_S: Final = 0.5
LEASE_SHARE: Final = 0.7
"""Share of the session timeout after which an unanswered member stops dispatching."""
METADATA_MAX_AGE_S: Final = 60.0
STALL_S: Final = 15.0
"""Rebuild the client when a partition has lag and nothing was fetched for this long."""
MAX_HOLD_S: Final = 60.0
"""Longest time between two looks at a record that is not due, whatever the clocks say."""
SETTLE_TIMEOUT_S: Final = 10.0
REVOKE_POLL_S: Final = 0.005
SUSPECT_POLL_S: Final = 0.005
COMMIT_RETRY_S: Final = 0.5
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MAX_S: Final = 5.0
"""Also bounds how long a broker's return goes unnoticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSourceOptions:
    """What a Kafka source needs to know beyond its client.

    Attributes:
        start: Where to begin without a committed offset.
        out_of_range: What to do when the committed offset is no longer in the log.
        undecodable: What to do with a stored batch that cannot be decoded.
        commit_interval_s: Time between commits.
        commit_records: Commit earlier once this many records are done.
        revoke_timeout_s: Longest wait for work in flight when partitions are revoked; below the
            group's rebalance timeout.
        session_timeout_s: The group's session timeout, for the lease.
        delayed: Its topics are delay topics: records wait until they are due.
    """

    start: Literal["earliest", "latest"] = "earliest"
    out_of_range: Literal["earliest", "latest", "halt"] = "earliest"
    undecodable: Literal["skip", "halt"] = "skip"
    commit_interval_s: float = 0.1
    commit_records: int = 500
    revoke_timeout_s: float = 15.0
    session_timeout_s: float = 30.0
    delayed: bool = False


class KafkaBatch(RecordBatch):
    """A batch that gives its memory back and is counted when every record of it is done."""

    __slots__ = ("source",)

    source: "KafkaSource"

    def valid(self) -> bool:
        """Also false once the group may have given the partition to somebody else."""
        return not self.revoked and self.source.lease_valid()

    def on_complete(self) -> None:
        """Tell the source, once."""
        self.source.completed(self)


class KafkaSource:
    """A member of a consumer group, as a source of one pipeline.

    Args:
        name: The source's name in the configuration.
        make_client: Builds a new client; called again after each failure.
        budget: The pipeline's memory budget, shared by its sources.
        quarantine: What the process's partitions are suspected of, shared by all its sources.
        counters: The pipeline's counters.
        group: The consumer group, for status and metrics.
        tracing: Told of traced records.
        transactions: Commits positions together with results; ``None`` commits to the group.
        state: Keeps what the handlers remember about a partition; ``None`` if none does.
        options: See :class:`KafkaSourceOptions`.
        rng: Jitter of the reconnect back-off.

    Attributes:
        left: After :meth:`close`: the lowest unfinished record of each partition.
        uncommitted: After :meth:`close`: partitions whose progress the broker has not confirmed.
    """

    def __init__(
        self,
        name: str,
        make_client: Callable[[], ConsumerClient],
        *,
        budget: MemoryBudget[TopicPartition],
        quarantine: Quarantine[SourcePartition],
        counters: PipelineCounters,
        options: KafkaSourceOptions,
        group: str = "",
        tracing: SourceTracing | None = None,
        transactions: Transactions | None = None,
        state: StateKeeper | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self.group = group
        self._transactions = transactions
        self._state = state
        self._openings: dict[TopicPartition, tuple[int, asyncio.Task[None]]] = {}
        self._moved: set[TopicPartition] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._make_client = make_client
        self._budget = budget
        self._quarantine = quarantine
        self._counters = counters
        self._options = options
        self._tracing = tracing
        self._rng = random.Random() if rng is None else rng  # noqa: S311 -- jitter, not a secret
        self._client: ConsumerClient | None = None
        self._held: dict[TopicPartition, HeldPartition] = {}
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._awaited: frozenset[TopicPartition] = frozenset()
        self._ever_assigned = False
        self._lease_lost = False
        self._stopping = asyncio.Event()
        self._closing = asyncio.Event()
        self._closed = asyncio.Event()
        self._finished_since_commit = 0
        self._last_contact_s: float | None = None
        self._commit_lock = asyncio.Lock()
        self.left: list[str] = []
        self.uncommitted: list[str] = []
        self._commit_failing_since_s: float | None = None
        self._blocked_since_s: float | None = None
        self._rebalancing_since_s: float | None = None
        self._fetching = False
        self._inbox: Sender[RecordBatch] | None = None

    # -- what others may ask ---------------------------------------------------------------

    @property
    def partitions(self) -> Sequence[HeldPartition]:
        """Assigned partitions, for status and metrics; in a rebalance those of before."""
        return [self._held[partition] for partition in sorted(self._assigned or self._awaited)]

    @property
    def connected(self) -> bool:
        """Whether the group has accepted this member at least once and still hears it."""
        return self._ever_assigned and self._client is not None and not self._lease_lost

    @property
    def last_contact_s(self) -> float | None:
        """``loop.time()`` of the last sign of life of a broker; ``None`` before the first."""
        return self._last_contact_s

    @property
    def rebalancing(self) -> bool:
        """Whether the group is being reassigned right now."""
        return self._client is not None and self._client.health().rebalancing

    def lag(self, partition: HeldPartition) -> int | None:
        """Records that are stored and not yet durable here; ``None`` while unknown."""
        end = None if self._client is None else self._client.end_offset_seen(partition.partition)
        if end is None or partition.offsets is None:
            return None
        return max(0, end - partition.offsets.next_offset)

    def commit_failing_s(self) -> float:
        """For how long commits have been failing."""
        return _since(self._commit_failing_since_s)

    def intake_blocked_s(self) -> float:
        """For how long the poll loop has been waiting for room in the channel."""
        return _since(self._blocked_since_s)

    def rebalancing_s(self) -> float:
        """For how long the group has been without an assignment for us."""
        return _since(self._rebalancing_since_s)

    def _uncommitted(self) -> list[str]:
        """Partitions with progress that the broker has not confirmed."""
        return [
            str(held.partition)
            for held in self._held.values()
            if held.offsets is not None
            and held.phase is not Phase.REVOKED
            and held.offsets.commit_due(held.acknowledged)
        ]

    def _left(self) -> list[str]:
        """Lowest unfinished record of each partition, as ``topic/partition/offset``."""
        return [
            f"{held.partition}/{oldest.offset}"
            for held in self._held.values()
            if held.offsets is not None
            and held.phase is not Phase.REVOKED
            and (oldest := held.offsets.oldest_unfinished) is not None
        ]

    # -- lifecycle -------------------------------------------------------------------------

    async def run(self, inbox: Sender[RecordBatch]) -> None:
        """Feed ``inbox`` until :meth:`stop_intake`, rebuilding the client whenever it fails.

        Returns after :meth:`close`; ``inbox`` is closed as soon as intake has ended.
        """
        self._inbox = inbox
        backoff_s = BACKOFF_FIRST_S
        try:
            while not self._closing.is_set():
                began_s = _now()
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
                if self._stopping.is_set():
                    inbox.close()
                if _now() - began_s > 10 * BACKOFF_MAX_S:
                    backoff_s = BACKOFF_FIRST_S
                delay_s = backoff_s * self._rng.uniform(0.8, 1.2)
                backoff_s = min(BACKOFF_MAX_S, backoff_s * 2)
                with_timeout = asyncio.timeout(delay_s)
                try:
                    async with with_timeout:
                        await self._closing.wait()
                except TimeoutError:
                    continue
        finally:
            inbox.close()
            self._closed.set()

    def stop_intake(self) -> None:
        """Take nothing more from Kafka; what was accepted goes on."""
        self._stopping.set()
        if self._client is None and self._inbox is not None:
            self._inbox.close()  # nobody is connected: nothing more will come

    async def close(self, deadline_s: float) -> None:
        """Commit what is durable, leave the group, and let :meth:`run` return."""
        self._stopping.set()
        try:
            async with asyncio.timeout(deadline_s):
                await self._commit_due(leaving=True)
        except (TimeoutError, ServiceError) as exc:
            log.warning("last commit failed", source=self.name, error=repr(exc))
        self.uncommitted = self._uncommitted()
        self.left = self._left()
        self._closing.set()
        if self._client is None:
            return  # connecting, or between two attempts: the caller cancels run()
        try:
            async with asyncio.timeout(deadline_s):
                await self._closed.wait()
        except TimeoutError:
            log.warning("the kafka client did not close in time", source=self.name)

    async def _live(self, client: ConsumerClient, inbox: Sender[RecordBatch]) -> None:
        """One client's life."""
        self._fetching = False
        try:
            await client.start(_Assignments(self, client))
            self._client = client
            self._lease_lost = False
            await self._until_failure_or_close(client, inbox)
        finally:
            self._client = None
            assigned, self._assigned = self._assigned, frozenset()
            self._drop(assigned)
            if self._transactions is not None:
                await self._transactions.close(assigned)
            await client.stop()

    async def _until_failure_or_close(
        self, client: ConsumerClient, inbox: Sender[RecordBatch]
    ) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                committer = tasks.create_task(self._commit_loop())
                watchdog = tasks.create_task(self._watch(client))
                await self._poll(client, inbox)
                inbox.close()
                await self._closing.wait()
                committer.cancel()
                watchdog.cancel()
                for _, task in self._openings.values():
                    task.cancel()
        except* ServiceError as group:
            raise _first(group) from group
        finally:
            self._tasks = None
            self._openings.clear()

    # -- assignment ------------------------------------------------------------------------

    async def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """The group takes ``partitions`` away: finish what runs, commit, let go."""
        client = self._client
        held = [self._held[p] for p in partitions if p in self._held and p in self._assigned]
        lost = client is None or self._lease_lost or client.health().generation < 0
        self._rebalancing_since_s = _now()
        for partition in held:
            partition.close()
        if not lost:
            await self._finish(held)
            try:
                await self._commit_due(leaving=True)
            except ServiceError as exc:
                log.warning("commit at revoke failed", source=self.name, error=str(exc))
        self._drop(partitions)
        self._assigned -= frozenset(partitions)
        if self._transactions is not None:
            await self._transactions.close(partitions)
        if held:
            log.info(
                "partitions lost" if lost else "partitions revoked",
                source=self.name,
                partitions=[str(partition.partition) for partition in held],
            )

    async def _finish(self, held: Iterable[HeldPartition]) -> None:
        """Wait until nothing of ``held`` is in flight, up to the revoke deadline."""
        held = list(held)
        deadline_s = _now() + self._options.revoke_timeout_s
        # Polled, because an event would cost something at every acknowledgement.
        for _ in range(int(self._options.revoke_timeout_s / REVOKE_POLL_S)):
            if _now() >= deadline_s or not any(partition.in_flight > 0 for partition in held):
                return
            await asyncio.sleep(REVOKE_POLL_S)

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """``partitions`` is now the whole assignment; the poll loop prepares them."""
        self._counters.rebalances += 1
        self._ever_assigned = True
        self._lease_lost = False
        self._rebalancing_since_s = None
        if self._state is not None:
            self._moved |= self._held.keys()
            self._moved -= frozenset(partitions)
        self._assigned = self._awaited = frozenset(partitions)
        self._budget.assign(self._assigned)
        for partition in partitions:
            held = self._held.get(partition)
            if held is None:
                held = HeldPartition(partition, quarantine=self._quarantine, source=self.name)
                self._held[partition] = held
            held.assign(_now())
        log.info(
            "partitions assigned",
            source=self.name,
            partitions=sorted(str(partition) for partition in partitions),
        )

    def _drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Let go: nothing of ``partitions`` is published or committed from here on."""
        for name in partitions:
            partition = self._held.get(name)
            if partition is None or partition.phase is Phase.REVOKED:
                continue
            for batch in partition.live_batches:
                if batch.left and self._tracing is not None and self._tracing.active:
                    self._tracing.dropped(batch)
                if batch.left:
                    self._budget.give_back(name, records=len(batch), size_bytes=batch.size_bytes)
            partition.revoke()
            self._release(name)
            if self._transactions is not None:
                # what is known here may be part of a transaction that never commits
                partition.forget()

    def _release(self, name: TopicPartition) -> None:
        """Let go of the state of a partition."""
        if self._state is None:
            return
        opening = self._openings.pop(name, None)
        if opening is not None:
            opening[1].cancel()
        self._state.release([name])

    def _opened(self, held: HeldPartition) -> bool:
        """Whether the state of a partition is there; restoring begins at the first call.

        It takes its time, and the source's other partitions are read meanwhile.
        """
        name = held.partition
        if self._state is None or self._tasks is None:
            return True
        epoch, task = self._openings.get(name, (-1, None))
        if task is None or epoch != held.epoch:
            if task is not None:
                task.cancel()
            task = self._tasks.create_task(self._open(name), name=f"open {name}")
            self._openings[name] = (held.epoch, task)
        if not task.done():
            return False
        del self._openings[name]
        return not task.cancelled()

    async def _open(self, name: TopicPartition) -> None:
        """Start the partition's producer, then restore its state.

        In this order: the producer ends what an earlier owner's transaction left half written.
        """
        if self._transactions is not None:
            await self._transactions.open(name)
        if self._state is not None:
            await self._state.restore(name)

    async def _prepare(self, client: ConsumerClient) -> None:
        """Find the position of every newly assigned partition and start reading it."""
        if self._moved and self._state is not None:
            moved, self._moved = self._moved, set()
            await self._state.forget(moved)
        waiting = [
            held
            for name in self._assigned
            if (held := self._held[name]).phase is Phase.PREPARING
            and (held.settled or _now() - held.assigned_at_s > SETTLE_TIMEOUT_S)
            and self._opened(held)
        ]
        if not waiting:
            return
        names = [held.partition for held in waiting]
        epochs = {held.partition: held.epoch for held in waiting}
        if self._state is None:
            for name in names:
                await self._open(name)
        committed = await client.committed(names)
        fresh = [name for name in names if name not in committed]
        starts: dict[TopicPartition, int] = {}
        if fresh:
            ask = client.end_offsets
            if self._options.start == "earliest":
                ask = client.beginning_offsets
            starts = await ask(fresh)
        for held in waiting:
            name = held.partition
            if name not in self._assigned or held.epoch != epochs[name]:
                continue  # reassigned while we asked
            position = held.resume(committed.get(name), starts.get(name, 0))
            client.seek(name, position)
            log.info("partition ready", source=self.name, partition=str(name), position=position)
        # One commit opens them all; what it does not reach, the first dispatch waits for.
        await self._commit_quietly()

    # -- reading ---------------------------------------------------------------------------

    async def _poll(self, client: ConsumerClient, inbox: Sender[RecordBatch]) -> None:
        counters = self._counters
        while not self._stopping.is_set():
            await self._prepare(client)
            ready = {name for name in self._assigned if self._has_room(name)}
            try:
                fetched = client.take(ready)
            except OffsetGoneError as exc:
                await self._reset(client, exc)
                continue
            if not fetched:
                began_s = _now()
                self._fetching = True
                await client.wait(POLL_WAIT_S)
                self._fetching = False
                counters.poll_s += _now() - began_s
                continue
            self._last_contact_s = _now()
            for answer in fetched:
                await self._accept(answer, inbox)

    def _has_room(self, name: TopicPartition) -> bool:
        held = self._held[name]
        if held.phase is not Phase.RUNNING or held.closing or not self.lease_valid():
            return False
        if held.hold_until_s > _now():
            return False
        records, size_bytes = self._budget.room_for(name)
        return records > 0 and size_bytes > 0 and held.has_metadata_room(CHUNK_RECORDS)

    async def _accept(self, answer: Fetched, inbox: Sender[RecordBatch]) -> None:
        """Cut one partition's answer into batches of ours and send them on."""
        held = self._held[answer.partition]
        epoch = held.epoch
        records: list[Record] = []
        size_bytes = 0
        position = answer.position
        for stored in answer.batches:
            try:
                decoded = stored.decode()
            except CorruptBatchError as exc:
                await self._send(self._batch(held, epoch, records, position, size_bytes), inbox)
                records, size_bytes, position = [], 0, exc.next_offset
                if held.epoch != epoch or not await self._corrupt(held, exc, inbox):
                    return
                continue
            if decoded and decoded[0].offset < answer.position:
                decoded = [record for record in decoded if record.offset >= answer.position]
            if self._options.delayed and (due := self._due(held, decoded)) < len(decoded):
                records.extend(decoded[:due])
                position = decoded[due].offset
                await self._send(self._batch(held, epoch, records, position, size_bytes), inbox)
                if self._client is not None and held.epoch == epoch:
                    self._client.seek(held.partition, position)  # the rest is read when it is due
                return
            records.extend(decoded)
            size_bytes += stored.size_bytes
            position = stored.next_offset
            if len(records) >= CHUNK_RECORDS or size_bytes >= CHUNK_BYTES:
                await self._send(self._batch(held, epoch, records, position, size_bytes), inbox)
                records, size_bytes = [], 0
        await self._send(self._batch(held, epoch, records, position, size_bytes), inbox)

    def _due(self, held: HeldPartition, records: Sequence[Record]) -> int:
        """How many of ``records`` may be tried again by now; holds the partition for the rest."""
        now_ms = wall_clock_ms()
        for index, record in enumerate(records):
            wait_ms = not_before_ms(record.headers) - now_ms
            if wait_ms > 0:
                held.hold_until_s = _now() + min(wait_ms / 1000, MAX_HOLD_S)
                return index
        return len(records)

    def _batch(
        self,
        held: HeldPartition,
        epoch: int,
        records: Sequence[Record],
        next_offset: int,
        size_bytes: int,
    ) -> KafkaBatch:
        name = held.partition
        batch = KafkaBatch(
            name.topic,
            name.partition,
            records,
            next_offset=next_offset,
            epoch=epoch,
            size_bytes=size_bytes,
            received_at_s=_now(),
        )
        batch.source = self
        return batch

    async def _send(self, batch: KafkaBatch, inbox: Sender[RecordBatch]) -> None:
        """Send ``batch`` on, in steps as small as the quarantine asks for."""
        held = self._held[TopicPartition(batch.topic, batch.partition)]
        if not self._current(held, batch.epoch):
            return
        if len(batch) > self._quarantine.room(held.name) or held.suspected:
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
        at = 0
        while at < len(batch) or (at == 0 and not len(batch)):
            alone = held.alone
            room = self._quarantine.room(held.name)
            if alone and room and not self._quarantine.begin_alone(held.name):
                room = 0
            if not room:
                await asyncio.sleep(SUSPECT_POLL_S)
                self._settle(held)
                if not self._current(held, batch.epoch):
                    return
                continue
            end = len(batch) if room == UNLIMITED else min(at + room, len(batch))
            part = self._part(held, batch, at, end)
            if not await self._admitted(held, part):
                return
            await self._send_on(held, part, inbox)
            at = max(end, 1)
            if alone:
                await self._end_alone(held, part)

    def _part(self, held: HeldPartition, batch: KafkaBatch, start: int, end: int) -> KafkaBatch:
        """Records ``start`` to ``end`` of ``batch``, as a batch; condemned ones marked."""
        if len(batch) <= 1 and batch.failure is not None:
            return batch
        records = batch.records[start:end]
        last = end >= len(batch)
        part = self._batch(
            held,
            batch.epoch,
            records,
            batch.next_offset if last else batch.records[end].offset,
            batch.size_bytes * len(records) // max(len(batch), 1),
        )
        if held.watch is not None and len(records) == 1:
            part.failure = held.watch.verdict(records[0].offset)
        return part

    async def _end_alone(self, held: HeldPartition, part: KafkaBatch) -> None:
        """Wait until a suspect is durable and no commit names it any more."""
        while self._current(held, part.epoch):
            if not part.left:
                self._settle(held)
                if self._quarantine.end_alone(held.name) is None:
                    return
                await self._commit_quietly()
            await asyncio.sleep(SUSPECT_POLL_S)

    def _settle(self, held: HeldPartition) -> None:
        if held.offsets is not None:
            self._quarantine.progressed(held.name, held.offsets.next_offset)

    async def _admitted(self, held: HeldPartition, batch: KafkaBatch) -> bool:
        """Commit what has to be on record before ``batch`` is dispatched; false if it is not ours.

        Waits while the broker is away: what is dispatched without a note could kill one process
        after the other.
        """
        if not len(batch):
            return True
        first, next_offset = batch.records[0].offset, batch.next_offset
        while self._current(held, batch.epoch):
            if held.admit(first, next_offset):
                return True
            await self._commit_quietly()
            if self._current(held, batch.epoch) and not held.admit(first, next_offset):
                await asyncio.sleep(COMMIT_RETRY_S)
        return False

    def _current(self, held: HeldPartition, epoch: int) -> bool:
        # A batch that came in while a revoke waits would overtake what the revoke has held back.
        return (
            held.epoch == epoch
            and held.phase is Phase.RUNNING
            and not held.closing
            and not self._stopping.is_set()
        )

    async def _send_on(
        self, held: HeldPartition, batch: KafkaBatch, inbox: Sender[RecordBatch]
    ) -> None:
        """Track ``batch`` and send it into the channel."""
        name = held.partition
        count, size_bytes = len(batch), batch.size_bytes
        if count:
            self._budget.take(name, records=count, size_bytes=size_bytes)
        counters = self._counters
        counters.records_in += count
        counters.bytes_in += size_bytes
        counters.batches += 1
        held.deliver(batch)
        if not batch.left:
            return  # nothing in it, or all of it was finished before
        began_s = batch.received_at_s
        self._blocked_since_s = began_s
        try:
            await inbox.send(batch)
        except ChannelClosedError:
            self._stopping.set()
        self._blocked_since_s = None
        # Let the pipeline take it while it is warm in the processor's cache.
        await asyncio.sleep(0)
        waited_s = _now() - began_s
        counters.backpressure_s += waited_s

    async def _corrupt(
        self, held: HeldPartition, error: CorruptBatchError, inbox: Sender[RecordBatch]
    ) -> bool:
        """Apply the policy for a batch that cannot be decoded; true to go on behind it."""
        log.error(
            "stored batch cannot be decoded",
            source=self.name,
            partition=str(error.partition),
            first_offset=error.first_offset,
            next_offset=error.next_offset,
            reason=error.reason,
            policy=self._options.undecodable,
        )
        if self._options.undecodable == "halt":
            held.phase = Phase.HALTED
            held.halted_because = str(error)
            return False
        marker = SourceRecord(None, offset=max(error.first_offset, _expected(held)))
        batch = self._batch(held, held.epoch, [marker], error.next_offset, 0)
        batch.failure = Failure("batch", error.reason, stage="fetch")
        await self._send(batch, inbox)
        return True

    async def _reset(self, client: ConsumerClient, error: OffsetGoneError) -> None:
        """The position is not in the log any more: apply the named policy, and say so."""
        held = self._held.get(error.partition)
        if held is None or held.phase is not Phase.RUNNING:
            return
        name = error.partition
        policy = self._options.out_of_range
        log.error(
            "offset out of range",
            source=self.name,
            partition=str(name),
            position=error.position,
            policy=policy,
        )
        if policy == "halt":
            held.phase = Phase.HALTED
            held.halted_because = str(error)
            return
        ask = client.beginning_offsets if policy == "earliest" else client.end_offsets
        position = (await ask([name]))[name]
        self._counters.offset_resets += 1
        self._drop([name])
        held.assign(_now())
        if self._state is not None:
            await self._state.restore(name)
        held.restart(position)
        client.seek(name, position)

    def completed(self, batch: KafkaBatch) -> None:
        """Every record of ``batch`` is done."""
        if batch.revoked:
            self._counters.stale_acks += 1
            return
        count = len(batch)
        self._budget.give_back(
            TopicPartition(batch.topic, batch.partition),
            records=count,
            size_bytes=batch.size_bytes,
        )
        self._counters.acked += count
        self._counters.record_latency(_now() - batch.received_at_s, count)
        self._finished_since_commit += count
        if self._tracing is not None and self._tracing.active:
            self._tracing.completed(batch)

    # -- committing ------------------------------------------------------------------------

    async def _commit_quietly(self) -> None:
        try:
            await self._commit_due()
        except CommitRefusedError as exc:
            log.info("commit refused, the group is rebalancing", error=str(exc))
        except BrokerUnavailableError as exc:
            log.warning("commit failed, trying again", source=self.name, error=str(exc))

    async def _commit_loop(self) -> None:
        """Commit on the timer, earlier when much is done; never two commits at once."""
        interval_s = self._options.commit_interval_s
        while True:
            for _ in range(4):
                await asyncio.sleep(interval_s / 4)
                if self._finished_since_commit >= self._options.commit_records:
                    break
            await self._commit_quietly()

    async def _commit_due(self, *, leaving: bool = False) -> None:
        """Commit what is durable.

        Args:
            leaving: The assigned partitions are being given up in order.

        Raises:
            CommitRefusedError: If the group has moved on.
            BrokerUnavailableError: If the outcome is unknown.
        """
        client = self._client
        async with self._commit_lock:
            if client is None or not self.lease_valid():
                return
            self._finished_since_commit = 0
            if self._transactions is not None:
                await self._commit_transactions(self._transactions, leaving=leaving)
                return
            due = {
                name: offset
                for name in self._assigned
                if (offset := self._held[name].due(_now(), leaving=leaving)) is not None
            }
            if not due:
                return
            began_s = _now()
            try:
                await client.commit(due)
            except ServiceError:
                self._counters.commit_failures += 1
                if self._commit_failing_since_s is None:
                    self._commit_failing_since_s = _now()
                raise
            self._commit_failing_since_s = None
            self._counters.commits += 1
            now_s = self._last_contact_s = _now()
            self._counters.commit_durations.record(now_s - began_s)
            for name, offset in due.items():
                self._held[name].confirmed(offset, now_s)
            if self._tracing is not None and self._tracing.uncommitted:
                positions = [
                    (at.topic, at.partition, offset.next_offset) for at, offset in due.items()
                ]
                self._tracing.committed(positions, since_s=began_s)

    async def _commit_transactions(self, transactions: Transactions, *, leaving: bool) -> None:
        """One transaction for each partition that has something to commit, side by side.

        Raises:
            ClientFailedError: If another member owns one of our partitions: rejoin.
        """
        running = [
            held for name in self._assigned if (held := self._held[name]).phase is Phase.RUNNING
        ]
        answers = await asyncio.gather(
            *(self._commit_transaction(transactions, held, leaving=leaving) for held in running)
        )
        if not all(answers):
            raise ClientFailedError("fenced: another member has taken over a partition")

    async def _commit_transaction(
        self, transactions: Transactions, held: HeldPartition, *, leaving: bool
    ) -> bool:
        """One partition's transaction; false if the partition belongs to somebody else."""
        name, epoch = held.partition, held.epoch
        due: list[CommittedOffset] = []

        def position() -> CommittedOffset | None:
            offset = held.due(_now(), leaving=leaving, exact=True)
            if offset is not None:
                due.append(offset)
            return offset

        try:
            committed = await transactions.commit(name, position)
        except FencedError as exc:
            log.warning("fenced", source=self.name, partition=str(name), error=str(exc))
            return False
        except TransactionFailedError as exc:
            self._counters.commit_failures += 1
            log.warning("transaction failed", source=self.name, error=str(exc))
            if held.epoch == epoch and name in self._assigned:
                self._drop([name])
                held.assign(_now())
            return True
        if committed:
            self._counters.commits += 1
            now_s = self._last_contact_s = _now()
            if held.epoch == epoch and held.phase is Phase.RUNNING:
                for offset in due:
                    held.confirmed(offset, now_s)
        return True

    # -- watching --------------------------------------------------------------------------

    def lease_valid(self) -> bool:
        """Whether the group has heard us recently enough that nobody else owns our partitions.

        The pipeline asks before it dispatches and before it publishes: after a long pause of the
        whole process, this is what keeps stale work from going out.
        """
        client = self._client
        if client is None or self._lease_lost:
            return False
        silent_s = _now() - client.health().last_heartbeat_at_s
        if self._assigned and silent_s > LEASE_SHARE * self._options.session_timeout_s:
            self._lose_lease(silent_s)
            return False
        return True

    def _lose_lease(self, silent_s: float) -> None:
        log.warning("no heartbeat answered, dispatch stops", source=self.name, silent_s=silent_s)
        self._lease_lost = True
        self._drop(self._assigned)

    async def _watch(self, client: ConsumerClient) -> None:
        """Raise when the client has to be replaced.

        Raises:
            ClientFailedError: With the reason.
        """
        last_records = -1
        progress_at_s = _now()
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            health = client.health()
            now_s = _now()
            if health.failed is not None:
                raise ClientFailedError(health.failed)
            if now_s - health.last_metadata_at_s > METADATA_MAX_AGE_S:
                raise ClientFailedError("no broker has answered for 60 s")
            self._last_contact_s = max(
                self._last_contact_s or 0.0, health.last_heartbeat_at_s, health.last_metadata_at_s
            )
            if self.lease_valid():
                pass
            elif self._lease_lost and now_s - health.last_heartbeat_at_s < 2 * WATCH_INTERVAL_S:
                # heard again without a new assignment: the partitions are still ours
                self._lease_lost = False
                self.assigned(self._assigned)
            records = self._counters.records_in
            if records != last_records or not self._starved():
                last_records, progress_at_s = records, now_s
            elif now_s - progress_at_s > STALL_S:
                raise ClientFailedError(f"nothing fetched for {STALL_S:g} s although there is lag")

    def _starved(self) -> bool:
        """Whether the poll loop waits for a fetch although a partition has room and lag."""
        return (
            self._fetching
            and not self._stopping.is_set()
            and any(
                self._has_room(name)
                and (self._client is not None)
                and (self._client.end_offset_seen(name) or 0) > _expected(self._held[name])
                for name in self._assigned
            )
        )


class _Assignments:
    """Forwards a client's callbacks to its source, unless the source has a newer client."""

    def __init__(self, source: KafkaSource, client: ConsumerClient) -> None:
        self._source = source
        self._client = client

    async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        try:
            await self._source.revoked(partitions)
        except Exception:
            # the client would only log it and go on as if all were well
            log.exception("revoke failed")

    def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        self._source.assigned(partitions)


def _expected(held: HeldPartition) -> int:
    return 0 if held.offsets is None else held.offsets.expected_offset


def _first(group: BaseExceptionGroup[ServiceError]) -> ServiceError:
    """The first error of a group, which is why the others were cancelled."""
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    return ServiceError(str(group))


def _since(at_s: float | None) -> float:
    return 0.0 if at_s is None else _now() - at_s


def _now() -> float:
    return asyncio.get_running_loop().time()
