"""The normalize step: record batches in, event batches and decode failures out."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from time import perf_counter
from typing import Final

from service.delivery.delays import delayed_for
from service.dispatch.preselect import Preselect
from service.events import Envelope, EventBatch, Failure, Outcome, RecordBatch
from service.metrics import PipelineCounters
from service.normalizers import TOMBSTONE, Normalized, Normalizer
from service.telemetry import Tracing
from service.where import Where

NOT_DELAYED: Final = "is in a delay topic and says for no handler that it waits"


class Normalize:
    """Decodes whole batches; what does not decode goes to ``failed`` as an outcome.

    Args:
        normalizer: Bytes to data, total.
        failed: Takes the outcomes of records that do not decode.
        counters: Time spent is added there.
        tracing: Finds out which records are traced.
        delay_topics: Where each record is for one handler alone.
        handlers: The names of the handlers, each of which will acknowledge every record.
    """

    def __init__(
        self,
        normalizer: Normalizer,
        *,
        failed: Callable[[list[Outcome]], object],
        counters: PipelineCounters,
        tracing: Tracing | None = None,
        delay_topics: Collection[str] = frozenset(),
        handlers: Collection[str] = (),
    ) -> None:
        self._normalizer = normalizer
        self._decode_many = normalizer.decode_many
        self._preselect: Preselect | None = None
        self._failed = failed
        self._counters = counters
        self._tracing = tracing if tracing is not None and tracing.enabled else None
        self._delay_topics = delay_topics
        self._handlers = handlers
        self._under_way: set[RecordBatch] = set()

    def preselect(self, wheres: Sequence[Where | None]) -> None:
        """Leave what none of ``wheres``, the filters of all handlers, wants undecoded if it can.

        They may change at any time; a batch is judged by those of the moment.
        """
        self._preselect = Preselect.of(self._normalizer, wheres)

    @property
    def in_flight(self) -> int:
        """Records that were normalized and are not done, of sources that do not count."""
        # those of a revoked partition end nowhere
        self._under_way = {batch for batch in self._under_way if not batch.revoked}
        return sum(batch.left for batch in self._under_way)

    def __call__(self, batches: Sequence[RecordBatch]) -> list[EventBatch]:
        """Normalize ``batches``; those of a revoked partition are dropped."""
        began_s = perf_counter()
        events = [self._normalize(batch) for batch in batches if not batch.closing]
        self._counters.normalize_s += perf_counter() - began_s
        return events

    def _normalize(self, batch: RecordBatch) -> EventBatch:
        count = len(batch)
        batch.dispatched += count
        if not batch.counted:
            self._count(batch)
        if self._tracing is not None:
            self._tracing.begin(batch)
        if batch.failure is not None:
            self._failed([Outcome(batch, i, failure=batch.failure) for i in range(count)])
            return EventBatch(batch, [batch.failure] * count, indexes=(), failed=range(count))
        finished_before = batch.left != count
        if len(self._handlers) > 1:
            batch.fan_out(self._handlers)
            batch.dispatched -= count  # counted as each of them begins
        if batch.topic in self._delay_topics:
            return self._sort(batch, self._claimed(batch), range(count))
        found = None if self._preselect is None else self._preselect.select(batch.records)
        if found is None:
            data = self._decode_many(batch.records)
            if not finished_before and _SPECIAL.isdisjoint(map(type, data)):
                return EventBatch(batch, data)
            return self._sort(batch, data, range(count))
        known = found.where is not None or _SPECIAL.isdisjoint(map(type, found.data))
        if known and not finished_before:
            return EventBatch(batch, found.data, indexes=found.places, chosen_by=found.where)
        return self._sort(batch, found.data, found.places)

    def _claimed(self, batch: RecordBatch) -> list[object]:
        """The data of delayed records; a failure for each that no handler would look at.

        Its handler may have been renamed or taken out while it waited.
        """
        data: list[object] = list(self._decode_many(batch.records))
        for index in range(len(batch)):
            name = delayed_for(batch, index)
            if name not in self._handlers:
                detail = f"waited for handler {name}, which there is not" if name else NOT_DELAYED
                data[index] = Failure("handler", detail, stage="normalize")
        return data

    def _count(self, batch: RecordBatch) -> None:
        """Count what comes of a source that does not: any but Kafka."""
        counters = self._counters
        counters.records_in += len(batch)
        counters.bytes_in += batch.size_bytes
        counters.batches += 1
        batch.observer = self._completed
        self._under_way.add(batch)

    def _completed(self, batch: RecordBatch) -> None:
        count = len(batch)
        self._under_way.discard(batch)
        if batch.revoked:
            self._counters.stale_acks += 1
            return
        self._counters.acked += count
        if batch.received_at_s:  # a source of one's own may not say
            now_s = asyncio.get_running_loop().time()
            self._counters.record_latency(now_s - batch.received_at_s, count)

    def _sort(self, batch: RecordBatch, data: list[object], places: Sequence[int]) -> EventBatch:
        """Tell values, tombstones, failures and records finished before apart."""
        indexes: list[int] = []
        tombstones: list[int] = []
        failures: list[Outcome] = []
        failed: list[int] = []
        envelopes: list[Envelope | None] = []
        done = bytes(batch.done)
        for index in places:
            value = data[index]
            if done[index]:
                continue
            if isinstance(value, Failure):
                if (
                    self._preselect
                    and value.code == "decode"
                    and self._preselect.is_unwanted(batch.records[index].value)
                ):
                    continue
                # one dead letter, however many handlers would have seen it
                batch.settle(index)
                if batch.begun is not None:
                    batch.begun[index] = 1
                failed.append(index)
                failures.append(Outcome(batch, index, failure=value))
            elif value is TOMBSTONE:
                tombstones.append(index)
            else:
                indexes.append(index)
            if isinstance(value, Normalized):
                if not envelopes:
                    envelopes = [None for _ in data]
                envelopes[index] = Envelope(value.type, value.headers)
                data[index] = value.data
        if failures:
            self._failed(failures)
        return EventBatch(
            batch,
            data,
            indexes=indexes,
            tombstones=tombstones,
            failed=failed,
            envelopes=envelopes or None,
        )


_SPECIAL = {Failure, Normalized, type(TOMBSTONE)}
