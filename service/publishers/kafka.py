"""The Kafka publisher: results into produce batches, the broker's answers into acknowledgements.

One publisher, with one idempotent producer, serves all pipelines of a process.  Adding a record
is synchronous and cheap; a batch goes out when it is full, when its pipeline has nothing more
for now, or after the linger time, and never while another one of its partition is on the wire.

The producer is disposable.  When it fails it is replaced, and what was not acknowledged is sent
again in the same order; a record whose batch was refused for its size is dead-lettered.

A topic in trouble (not there, without a leader, refusing what it gets) is no reason for others to
wait: what is for it stays in its partitions, and only who writes to it waits when that is much.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog

from service.clock import loop_time_s, wall_clock_ms
from service.delivery.backoff import Backoff
from service.errors import FatalError, ServiceError, first_error
from service.events import Permission
from service.publishers.base import ProduceFailedError, ProducerClient
from service.publishers.encoding import in_time
from service.publishers.kafka_availability import Availability
from service.publishers.kafka_outputs import KafkaOutputs
from service.publishers.kafka_stuck import StuckWatch
from service.publishers.kafka_topics import BACKOFF_FIRST_S, BACKOFF_MAX_S
from service.publishers.output import FULL_BYTES, OutputPartition, Sealed
from service.publishers.runs import Run, count_by_owner, permission_of

log = structlog.get_logger(__name__)

LINGER_S: Final = 0.005
"""Longest wait of a record in a batch that is not full, while more keeps coming; by default."""
DUE_S: Final = 1e-6
"""A shorter wait is none: the clock counts in floats, and may not move by so little."""
FLUSH_BEFORE_REBUILD_S: Final = 5.0
LATE_ANSWER_S: Final = 0.5
"""Longest wait for an answer that has been waited for before."""
SETTLE_POLL_S: Final = 0.02
PERMISSION_POLL_S: Final = 0.05
"""Time between two looks at results that have to wait for an answered heartbeat."""
TROUBLE_POLL_S: Final = 0.1
"""Time between two looks at results for a topic that is in trouble."""
STOP_TIMEOUT_S: Final = 3.0

_GO: Final = Permission.GO  # named once: on Python 3.11 that costs as much as asking for it


class KafkaPublisher(KafkaOutputs):
    """See the module.

    Args:
        make_producer: Builds a new producer client; called again after each failure.
        linger_s: Longest wait of a record in a batch that is not full, while more keeps coming.

    Attributes:
        ever_connected: Whether a producer has been up at least once.
    """

    def __init__(
        self,
        make_producer: Callable[[], ProducerClient],
        *,
        linger_s: float = LINGER_S,
    ) -> None:
        super().__init__()
        self._make_producer = make_producer
        self._linger_s = linger_s
        self._available = Availability(self.fits, self._dirty.set)
        self._watch = StuckWatch(
            make_producer, lambda: list(self._outputs.values()), self._last_heard_s
        )
        self._broken: Exception | None = None
        self._stopping = False
        self.ever_connected = False

    def _last_heard_s(self) -> float:
        return 0.0 if self._producer is None else self._producer.heard_s

    async def flush(self) -> None:
        """Wait until everything added so far is acknowledged.  Cancel safe."""
        for output in self._unsent:
            output.urgent = True
        self._dirty.set()
        await self._shares.empty()

    async def run(self) -> None:
        """Send until cancelled or :meth:`close`, replacing the producer whenever it fails."""
        backoff = Backoff(initial_s=BACKOFF_FIRST_S, max_s=BACKOFF_MAX_S)
        while not self._stopping:
            producer: ProducerClient | None = None
            try:
                producer = self._make_producer()
                await producer.start()
                self._producer = producer
                self.ever_connected = True
                self._broken = None
                backoff.reset()
                await self._serve(producer)
            except FatalError:
                raise
            except (ServiceError, OSError) as exc:
                log.warning("kafka producer failed", error=str(exc))
                await self._settle_wire()
            except Exception:
                # whatever the client came up with, a new one is the answer
                log.exception("kafka producer failed in a way nobody foresaw")
                await self._settle_wire()
            finally:
                self._producer = None
                if producer is not None:
                    await producer.stop(self._stop_timeout_s())
            for output in self._outputs.values():
                output.unsent()
            while self.fewer:
                self._place_anew(*self.fewer.popitem())
            self._unsent = dict.fromkeys(output for output in self._outputs.values() if output.held)
            self._dirty.set()  # or the next producer would wait for something new to send
            if not self._stopping:
                await asyncio.sleep(backoff.next_s())

    async def close(self, deadline_s: float) -> None:
        """Flush within ``deadline_s`` and let :meth:`run` end."""
        try:
            async with asyncio.timeout(deadline_s):
                await self.flush()
        except TimeoutError:
            log.warning("output not acknowledged in time", records=self._shares.records)
        self._stopping = True
        self._dirty.set()

    async def _serve(self, producer: ProducerClient) -> None:
        """Send until :meth:`close`, and raise when ``producer`` has to be replaced."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._available.begin(producer, tasks)
                watching = tasks.create_task(self._watch.run(), name="watch producer")
                counting = tasks.create_task(self.keep_counting(producer), name="count partitions")
                await self._send_loop(producer)
                watching.cancel()
                counting.cancel()
                self._available.end()
        except* ServiceError as group:
            raise first_error(group) from group
        finally:
            self._available.end()

    async def _send_loop(self, producer: ProducerClient) -> None:
        later: asyncio.TimerHandle | None = None
        while not self._stopping:
            await self._dirty.wait()
            self._dirty.clear()
            if self._broken is not None:
                raise self._broken
            if (failure := producer.failed()) is not None:
                raise ProduceFailedError(failure)
            wait_s = await self._send_ready(producer)
            if later is not None:
                later.cancel()  # or each look would bring about another one for ever
                later = None
            if wait_s is not None:
                later = asyncio.get_running_loop().call_later(wait_s, self._dirty.set)

    async def _send_ready(self, producer: ProducerClient) -> float | None:
        """Send what may go now; returns seconds until something else may."""
        now_s = loop_time_s()
        next_s: float | None = None
        for output in list(self._unsent):
            if output.on_wire is not None:
                continue  # its answer sets the event again
            wait_s = 0.0 if output.sealed else self._due_in_s(output, now_s)
            if not wait_s:
                wait_s = await self._send_due(producer, output)
                if not output.held:
                    del self._unsent[output]
            if wait_s and (next_s is None or wait_s < next_s):
                next_s = wait_s
        return next_s

    def _due_in_s(self, output: OutputPartition, now_s: float) -> float:
        """Seconds until the open batch goes out, 0 if it does now."""
        left_s = output.since_s + self._linger_s - now_s
        return 0.0 if output.urgent or output.size_bytes >= FULL_BYTES or left_s < DUE_S else left_s

    async def _send_due(self, producer: ProducerClient, output: OutputPartition) -> float:
        """Send the next of one output partition, if that may be; returns when to try again."""
        if not self._available.takes(output.topic, output.partition):
            return TROUBLE_POLL_S
        if not output.sealed:
            output.seal()
            output.urgent = False
        return 0.0 if await self._send(producer, output) else PERMISSION_POLL_S

    def _permission(self, output: OutputPartition, runs: Sequence[Run]) -> Permission:
        """What may become of a batch in the client's hands; it waits if its topic has changed."""
        permission = permission_of(runs)
        if permission is _GO and not self._available.there(output.topic, output.partition):
            return Permission.WAIT
        return permission

    def _next(self, output: OutputPartition) -> Sealed | None:
        """Take the next records that may be sent; ``None`` if all that there are have to wait.

        Asked for at the last moment: a process that was stopped for longer than its session
        wakes up with results in its hands that the partition's next owner makes again.  What
        waits keeps its place, and only records of other inputs pass it.
        """
        waiting: list[Sealed] = []
        going: Sealed | None = None
        while output.sealed and going is None:
            sealed = output.sealed.popleft()
            if permission_of(sealed.runs) is _GO:  # all of it, as nearly always
                going = sealed
                break
            parts = sealed.by_permission()
            if (never := parts.get(Permission.NEVER)) is not None:
                self._drop(output, never)
            if (wait := parts.get(Permission.WAIT)) is not None:
                waiting.append(wait)
            going = parts.get(Permission.GO)
        output.sealed.extendleft(reversed(waiting))
        return going

    @staticmethod
    def _drop(output: OutputPartition, sealed: Sealed) -> None:
        """Nobody may publish these any more: their partition was lost."""
        for run in sealed.runs:
            run.owner.lost(run)
            run.batch.dropped(run.places)
        output.share.settle(sealed.count, sealed.size_bytes)

    async def _send(self, producer: ProducerClient, output: OutputPartition) -> bool:
        """Send what may go of one output partition; false if all of it has to wait."""
        sealed = self._next(output)
        if sealed is None:
            if output.sealed:
                return False
            output.waiting_since_s = loop_time_s() if output.runs else 0.0
            self._dirty.set()  # what came meanwhile has not been looked at
            return True
        if sealed.writer is None:  # to be sent again: fill a new batch, as much as it takes
            writer = producer.new_batch()
            rows = in_time(sealed.rows, self.topics[output.topic], wall_clock_ms())
            taken = output.fill(writer, rows)
            if taken < sealed.count:
                sealed, rest = sealed.cut(taken)
                output.sealed.appendleft(rest)
            sealed.writer = writer
        output.on_wire = sealed
        output.sent_at_s = loop_time_s()
        # and asked again inside the client, which may sit on it for a while
        answer = await producer.send(
            output.topic,
            output.partition,
            sealed.writer,
            permission=partial(self._permission, output, sealed.runs),
        )
        answer.add_done_callback(partial(self._answered, output, sealed))
        return True

    def _answered(
        self, output: OutputPartition, sealed: Sealed, answer: "asyncio.Future[int]"
    ) -> None:
        """The broker's answer to one batch: acknowledge its inputs, or replace the producer."""
        error = None if answer.cancelled() else answer.exception()
        if output.on_wire is not sealed:
            return  # the producer was replaced meanwhile, and this batch is sent again
        output.on_wire = None
        if error is None and not answer.cancelled():
            self._available.stored(output.topic)
            self._stored(output, sealed)
            return
        for owner in count_by_owner(sealed.runs):
            owner.failed()
        refused: Sealed | None = None
        if not (isinstance(error, ProduceFailedError) and error.too_large):
            output.sealed.appendleft(sealed.unsent())
            if isinstance(error, ProduceFailedError):
                self._available.refused(output.topic)
        elif sealed.count > 1:
            self.takes_less(output.topic, sealed)
            output.split(sealed)
        else:
            refused = sealed
            output.share.settle(sealed.count, sealed.size_bytes)
        # before the owners are told, one of whom may raise: the producer has a gap in any case
        self._broken = error if isinstance(error, Exception) else ProduceFailedError("cancelled")
        self._dirty.set()
        if refused is not None:
            self._refused(output, refused, str(error))

    def _refused(self, output: OutputPartition, sealed: Sealed, reason: str) -> None:
        """One record was refused for its size: its owner has something smaller to send."""
        if sealed.runs[0].failed or output.topic in self.changelogs:
            self.takes_less(output.topic, sealed)
        try:
            for entry in sealed.entries():
                entry.owner.refused(entry, reason)
        finally:
            self._shares.look()
            if not output.pending:
                output.waiting_since_s = 0.0

    def _stored(self, output: OutputPartition, sealed: Sealed) -> None:
        """A batch is durable: tell the owners of its records, then acknowledge their inputs."""
        for owner, count in count_by_owner(sealed.runs).items():
            owner.stored(output.topic, sealed.runs, count, since_s=output.sent_at_s)
        output.waiting_since_s = loop_time_s() if output.sealed or output.runs else 0.0
        for run in sealed.runs:
            if run.failed:
                for place in run.places:
                    run.batch.dead_lettered(place)
            run.batch.ack_many(run.places)
        output.share.settle(sealed.count, sealed.size_bytes)
        if output.sealed or output.runs:
            self._dirty.set()

    async def _settle_wire(self) -> None:
        """Give batches that are on the wire time to be answered before their producer goes.

        What is not answered by then is sent again, and may be stored twice.  What waits for a topic
        that has lost partitions gets no answer, and is not waited for.  What has been without one
        for that long already gets a moment, for a broker that is just back, and no more, or a
        topic that takes nothing would cost the others seconds each time.
        """
        began_s = loop_time_s()
        while loop_time_s() - began_s < FLUSH_BEFORE_REBUILD_S:
            late = loop_time_s() - began_s >= LATE_ANSWER_S
            if not any(
                output.on_wire is not None
                and output.topic not in self.fewer
                and not (late and began_s - output.sent_at_s > FLUSH_BEFORE_REBUILD_S)
                for output in self._outputs.values()
            ):
                return
            await asyncio.sleep(SETTLE_POLL_S)

    def _stop_timeout_s(self) -> float:
        """How long a producer may take to stop; what is unanswered now would not be in the end."""
        unanswered = any(output.on_wire is not None for output in self._outputs.values())
        return LATE_ANSWER_S if unanswered else STOP_TIMEOUT_S
