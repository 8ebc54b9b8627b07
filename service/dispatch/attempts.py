"""How often an event was tried, and what follows a failed attempt.

Decides, counts and tells; runs nothing, parks nothing.
"""

from collections.abc import Callable

from service.clock import wall_clock_ms
from service.delivery.delays import Delayed, attempts_of, rung_of
from service.delivery.retry import Delay, Retry, RetryPolicy, after_failure, decisive
from service.dispatch.failure_log import FailureLog
from service.errors import FatalError, HandlerTimeoutError
from service.events import Event, Headers, Outcome
from service.metrics.counters import HandlerCounters


class Attempts:
    """The attempts of one handler.

    Args:
        policy: What follows a failed one; may be replaced while it runs.
        counters: The handler's counters.
        handler: Its name.
        pipeline: Name of its pipeline, for the log.
        random: Jitter of retries: numbers in [0, 1).

    Attributes:
        policy: As given.
        delay_topics: Topics in which records wait for their next attempt.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        counters: HandlerCounters,
        *,
        handler: str,
        random: Callable[[], float],
        pipeline: str = "",
    ) -> None:
        self.policy = policy
        self.delay_topics = frozenset(step.topic for step in policy.delay_topics)
        self._counters = counters
        self._handler = handler
        self._random = random
        self._log = FailureLog(pipeline, handler)

    def restore(self, event: Event) -> None:
        """Count what earlier processes tried, or earlier rounds through delay topics."""
        batch = event.batch
        if batch.inherited is not None:
            event.attempts = batch.inherited.get(event.index, 0)
        if batch.topic in self.delay_topics:
            event.attempts = max(event.attempts, attempts_of(_headers_of(event)))

    def after(self, event: Event, error: Exception) -> Outcome | float:
        """What follows a failed attempt: an outcome, or seconds to wait for the next one.

        Raises:
            FatalError: If the handler says that the process cannot go on.
        """
        error = decisive(error)
        if isinstance(error, FatalError):
            raise error
        counters = self._counters
        counters.failed += 1
        if isinstance(error, HandlerTimeoutError):
            counters.timed_out += 1
        event.attempts += 1
        event.batch.note_attempts(event.index, event.attempts)
        rung = rung_of(_headers_of(event)) if event.batch.topic in self.delay_topics else 0
        decision = after_failure(
            self.policy, event.attempts, error, self._random, handler=self._handler, rung=rung
        )
        if isinstance(decision, Retry):
            counters.retries += 1
            self._log.tell(event, error, f"the next attempt in {decision.delay_s:.1f} s")
            return decision.delay_s
        if isinstance(decision, Delay):
            self._log.tell(event, error, f"delay topic {decision.topic}")
            delayed = Delayed(event, decision, handler=self._handler, now_ms=wall_clock_ms())
            return Outcome(event.batch, event.index, (delayed,))
        self._log.tell(event, error, "a dead letter")
        return Outcome(event.batch, event.index, failure=decision.failure)


def _headers_of(event: Event) -> Headers:
    """Those of its record; a normalizer may have added some to the event's."""
    return event.batch.records[event.index].headers
