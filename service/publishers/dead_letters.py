"""Dead letters on their way to their topic: they are counted, and none is ever given up."""

from collections.abc import Callable, Sequence

from service.clock import wall_clock_ms
from service.delivery.dead_letters import (
    DeadLetterRecord,
    dead_letter,
    parse_dead_letter,
    record_bytes,
)
from service.delivery.delays import original_of
from service.errors import OutputTooLargeError
from service.events import Failure, RecordBatch
from service.metrics import PipelineCounters
from service.publishers.base import OutputTracing
from service.publishers.protocols import Publisher
from service.publishers.runs import Entry, Run, trace_sent


class DeadLetters:
    """Publishes the dead letters of one handler.

    Args:
        publisher: Where they go.
        topic: The dead-letter topic.
        counters: The pipeline's counters.
        tracing: Told of the dead letters of traced records.

    Attributes:
        topic: As given.
    """

    def __init__(
        self,
        publisher: Publisher,
        topic: str,
        counters: PipelineCounters,
        tracing: OutputTracing,
    ) -> None:
        self.topic = topic
        self._publisher = publisher
        self._counters = counters
        self._tracing = tracing
        self._graves: dict[str, Grave] = {}

    def bury(self, batch: RecordBatch, index: int, failure: Failure) -> bool:
        """Write the dead letter of one record; false if its topic is not known."""
        if self.topic not in self._publisher.topics:
            return False
        if self._tracing.active:
            self._tracing.failed(batch, index, failure.code, failure.detail)
        self._add(batch, index, failure, self._letter(batch, index, failure))
        return True

    def _letter(self, batch: RecordBatch, index: int, failure: Failure) -> DeadLetterRecord:
        """The dead letter of one record, as large as the topic takes."""
        # Not what an earlier pipeline made of it: the origin is where a redrive sends it again.
        record = batch.original(index)
        headers, origin = original_of(record.headers)
        return dead_letter(
            failure,
            key=record.key,
            value=record.value,
            headers=headers,
            origin=origin or (batch.topic, batch.partition, record.offset),
            failed_at_ms=wall_clock_ms(),
            max_bytes=self._publisher.max_record_bytes(self.topic),
        )

    def _add(
        self, batch: RecordBatch, index: int, failure: Failure, letter: DeadLetterRecord
    ) -> None:
        grave = self._graves.get(failure.code)
        if grave is None:
            grave = Grave(failure.code, self._counters, self._bury_again, self._tracing)
            self._graves[failure.code] = grave
        number = self._publisher.partition_for(self.topic, letter.key, batch.partition)
        key, value, headers = letter.key, letter.value, letter.headers
        entry = Entry(None, key, value, headers, batch, index, grave, failed=True)
        self._publisher.add(self.topic, number, entry)

    def _bury_again(self, entry: Entry) -> bool:
        """Write a dead letter that was refused once more, cut to what its topic takes."""
        info = parse_dead_letter(entry.headers)
        if info is None:
            return False
        failure = Failure(
            info.code, info.detail, stage=info.stage, handler=info.handler, attempts=info.attempts
        )
        letter = self._letter(entry.batch, entry.place, failure)
        before = record_bytes(entry.key, entry.value, entry.headers)
        if record_bytes(letter.key, letter.value, letter.headers) >= before:
            return False
        self._add(entry.batch, entry.place, failure, letter)
        return True


class Grave:
    """Owns the dead letters with one error code.

    Args:
        code: The code.
        counters: Of the pipeline.
        again: Buries one that was refused for its size once more; false if it cannot be smaller.
        tracing: Told of the dead letters of traced records.
    """

    def __init__(
        self,
        code: str,
        counters: PipelineCounters,
        again: Callable[[Entry], bool],
        tracing: OutputTracing,
    ) -> None:
        self._code = code
        self._counters = counters
        self._again = again
        self._tracing = tracing

    def failed(self) -> None:
        """Count a produce request that failed."""
        self._counters.publish_failures += 1

    def stored(self, topic: str, runs: Sequence[Run], count: int, *, since_s: float) -> None:
        """Count dead letters that are durable, and trace their request."""
        self._counters.dead_lettered(self._code, count)
        trace_sent(self._tracing, topic, runs, self, since_s)

    def lost(self, run: Run) -> None:
        """See :class:`service.publishers.runs.EntryOwner`; nothing was counted yet."""

    def refused(self, entry: Entry, reason: str) -> None:
        """Cut it to what its topic takes; losing a dead letter is not an option.

        Raises:
            OutputTooLargeError: If nothing is left to cut; it stays unacknowledged.
        """
        if not self._again(entry):
            raise OutputTooLargeError(
                f"the dead-letter topic refuses {entry.batch.topic}: {reason}"
            )
