"""Owners of dead letters: they count them, and never let one go."""

from collections.abc import Callable, Sequence

from service.errors import OutputTooLargeError
from service.metrics import PipelineCounters
from service.publishers.base import OutputTracing
from service.publishers.runs import Entry, Run, trace_sent


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
