"""What waits to be sent and acknowledged, by output partition: the side that records come in by.

Adding is synchronous and cheap.  Knows no task and no request; who sends empties the partitions.
"""

import asyncio
from collections.abc import Collection, Sequence
from itertools import chain

import structlog

from service.clock import loop_time_s
from service.publishers.base import BatchWriter, Row
from service.publishers.kafka_topics import OutputTopics
from service.publishers.output import OutputPartition, Sealed
from service.publishers.runs import Entry, Run, by_partition
from service.publishers.shares import Room, Shares

log = structlog.get_logger(__name__)


class KafkaOutputs(OutputTopics):
    """Takes records for topics that it has learned of."""

    def __init__(self) -> None:
        super().__init__()
        self._outputs: dict[tuple[str, int], OutputPartition] = {}
        # Those with records that are not on the wire, in the order in which they got them: of
        # perhaps hundreds there are few, and they are looked at for every chunk of results.
        self._unsent: dict[OutputPartition, None] = {}
        self._shares = Shares()
        self._dirty = asyncio.Event()

    @property
    def pending(self) -> int:
        """Output records that are not acknowledged yet."""
        return self._shares.records

    def add(self, topic: str, partition: int, entry: Entry) -> None:
        """Queue one record; ``entry.batch.ack(entry.place)`` is called once it is durable.

        Args:
            topic: A topic that is in :attr:`topics`.
            partition: From :meth:`partition_for`.
            entry: The record, at most :meth:`max_record_bytes` long.
        """
        run = Run(entry.batch, [entry.place], entry.owner, failed=entry.failed)
        row = (entry.timestamp_ms, entry.key, entry.value, list(entry.headers))
        self.add_run(topic, partition, run, [row])

    def add_run(self, topic: str, partition: int, run: Run, rows: Sequence[Row]) -> None:
        """:meth:`add` for each of ``rows``, in as few calls as there are batches to fill.

        Args:
            topic: A topic that is in :attr:`topics`.
            partition: From :meth:`partition_for`.
            run: Where the records come from; not to be changed afterwards.
            rows: The records, as many as there are places in ``run``.
        """
        output = self._output(topic, partition)
        output.share.add(len(rows), output.add(run, rows, self._begin_batch))

    def _output(self, topic: str, partition: int) -> OutputPartition:
        output = self._outputs.get((topic, partition))
        if output is None:
            limit_bytes = self.batch_bytes(topic)
            output = OutputPartition(topic, partition, limit_bytes, self._shares.of(topic))
            self._outputs[topic, partition] = output
        return output

    def _begin_batch(self, output: OutputPartition) -> BatchWriter | None:
        """Open a batch for ``output``; ``None`` while there is no producer to make one.

        What was added while there was none is in no writer: it goes first, as a batch of its own,
        or it would be acknowledged with this one without ever having been sent.
        """
        self._unsent[output] = None
        output.since_s = loop_time_s()
        if not output.waiting_since_s:
            output.waiting_since_s = output.since_s
        if self._producer is None:
            return None
        output.seal()
        return self._producer.new_batch()

    def added(self, *, urgent: bool) -> None:
        """A run of :meth:`add` calls has ended; ``urgent`` when nothing more is coming for now."""
        if not self._shares.records:
            return
        if urgent:
            for output in self._unsent:
                if output.runs:
                    output.urgent = True
        self._shares.look()
        self._dirty.set()

    def oldest_pending_s(self, but_for: Collection[str] = ()) -> float:
        """For how long outputs wait to be acknowledged, or for their topic to be described.

        Args:
            but_for: Topics that are somebody else's.
        """
        waiting = [
            output.waiting_since_s
            for output in self._outputs.values()
            if output.topic not in but_for
        ]
        waiting += self.unknown_since_s(but_for)
        since_s = min((at_s for at_s in waiting if at_s), default=0.0)
        return loop_time_s() - since_s if since_s else 0.0

    def takes_less(self, topic: str, refused: Sealed) -> None:
        """See :meth:`OutputTopics.takes_less`; what follows is cut to that."""
        super().takes_less(topic, refused)
        for output in self._outputs.values():
            if output.topic == topic:
                output.limit_bytes = self.batch_bytes(topic)

    @property
    def full(self) -> bool:
        """Whether :meth:`room` would wait, after the run of :meth:`add` that has ended last."""
        return self._shares.full

    @property
    def tight(self) -> bool:
        """Never: what is queued goes out in requests of its own size."""
        return False

    def room(self) -> Room:
        """What to await before more is added to the same topics; see :class:`Shares`."""
        return self._shares.room()

    def _place_anew(self, topic: str, partitions: int) -> None:
        """Have ``topic`` have fewer partitions; nothing is on the wire."""
        gone = [self._outputs.pop(at) for at in sorted(self._outputs) if at[0] == topic]
        self.topics[topic] = self.topics[topic]._replace(partitions=partitions)
        log.warning("topic has fewer partitions", topic=topic, partitions=partitions)
        since_s = min((output.waiting_since_s for output in gone if output.sealed), default=0.0)
        waiting = [sealed for output in gone for sealed in output.sealed]
        # what is for one key was in one partition, and stays in its order
        for run, rows in chain.from_iterable(sealed.parts() for sealed in waiting):
            places = self.partitions_for(topic, [row[1] for row in rows], run.batch.partition)
            for partition, some, some_rows in by_partition(places, run, rows):
                self.add_run(topic, partition, some, some_rows)
                output = self._outputs[topic, partition]
                output.urgent, output.waiting_since_s = True, since_s
        for sealed in waiting:
            self._shares.of(topic).settle(sealed.count, sealed.size_bytes)
