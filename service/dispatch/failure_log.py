"""Says in the log what handlers fail of: each kind of error now and then, not each time.

While a dependency is away every event fails, and a line for each would be all that a log holds.
What is published with a dead letter is told here too, as most failures never become one.
"""

import time
import traceback
from collections.abc import Callable
from typing import Final

import structlog

from service.delivery.failures import describe
from service.delivery.retry import ErrorKind, classify
from service.events import Event

log = structlog.get_logger(__name__)

PERIOD_S: Final = 10.0
"""Time from one line about a kind of error to the next."""
MAX_KINDS: Final = 100
"""Classes that are told apart; those of generated code may have no end."""
_MAX_FRAMES: Final = 20
_MAX_CHARS: Final = 8192


class FailureLog:
    """The failed attempts of one handler.

    Args:
        pipeline: Name of its pipeline.
        handler: Its name.
        clock: Seconds that only go forward.
    """

    def __init__(
        self, pipeline: str, handler: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._names = {"pipeline": pipeline, "handler": handler}
        self._clock = clock
        self._told: dict[type[Exception], _Told] = {}

    def tell(self, event: Event, error: Exception, follows: str) -> None:
        """Write a line, or count what was left out since the last one of this kind.

        Its text is that of a dead letter, without payload.  The traceback, which may quote what
        the handler choked on, is written on DEBUG only.

        Args:
            event: What was handled, this attempt counted.
            error: What the handler raised.
            follows: What comes after it, in words.
        """
        now_s = self._clock()
        told = self._told.get(type(error))
        if told is not None and now_s < told.until_s:
            told.unwritten += 1
            return
        if len(self._told) >= MAX_KINDS:
            self._told.clear()
        self._told[type(error)] = _Told(now_s + PERIOD_S)
        # what can never work is the event's fault, and is told by its dead letter
        write = log.info if classify(error) is ErrorKind.PERMANENT else log.warning
        write(
            "handler failed",
            **self._names,
            topic=event.topic,
            partition=event.partition,
            offset=event.offset,
            attempts=event.attempts,
            error=describe(error),
            follows=follows,
            unwritten=0 if told is None else told.unwritten,
        )
        text = "".join(traceback.format_exception(error, limit=-_MAX_FRAMES))
        log.debug("traceback of the failure", **self._names, exception=text[-_MAX_CHARS:])


class _Told:
    """What was said of one kind of error."""

    __slots__ = ("until_s", "unwritten")

    def __init__(self, until_s: float) -> None:
        self.until_s = until_s
        self.unwritten = 0
