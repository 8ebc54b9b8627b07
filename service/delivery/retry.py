"""What follows a failed attempt: wait and try again, hand over to a delay topic, or give up.

A plain function of the policy, the attempts so far, the error and a random number; the caller
sleeps, publishes or dead-letters.  Full determinism: the random source is an argument.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from service.delivery.failures import failure_of
from service.errors import FatalError, PermanentError, TransientError
from service.events import Failure

RETRY_AFTER_MAX_S = 300.0
"""Longest wait that a peer may impose; more would hold the partition's commit for its sake."""

_DOUBLINGS_MAX = 63

UnitRandom: TypeAlias = Callable[[], float]
"""Uniform in [0, 1), as ``random.Random(seed).random``."""


class ErrorKind(Enum):
    """Whether trying again can help."""

    TRANSIENT = auto()
    PERMANENT = auto()


@dataclass(frozen=True, slots=True)
class DelayTopic:
    """One rung of the ladder: records wait in ``topic`` for ``delay_s`` seconds."""

    topic: str
    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently a handler is tried again.

    The wait after attempt ``n`` is ``initial_s * 2**(n - 1)``, at most ``max_s``, times a random
    factor in ``[1 - jitter, 1 + jitter)``, so that those who failed together do not come back
    together.

    Args:
        attempts: Tries in all before the delay topics; 1 means no second try in place.
        initial_s: Wait after the first failure, in seconds.
        max_s: Longest wait before jitter, in seconds.
        jitter: Share of the wait that is random, 0 to 1.
        delay_topics: Where a record goes after the tries in place, one after the other; each
            gives it one more try.  Empty: straight to the dead-letter topic.

    Raises:
        ValueError: If a number is out of its range.
    """

    attempts: int = 5
    initial_s: float = 0.1
    max_s: float = 10.0
    jitter: float = 0.2
    delay_topics: tuple[DelayTopic, ...] = ()

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError("attempts must be at least 1")
        if not 0 <= self.initial_s <= self.max_s:
            raise ValueError("initial_s must be between 0 and max_s")
        if not 0 <= self.jitter <= 1:
            raise ValueError("jitter must be between 0 and 1")

    def backoff_s(self, attempts: int, random: UnitRandom) -> float:
        """Seconds to wait after failed attempt number ``attempts``, counted from 1."""
        doublings = min(max(attempts - 1, 0), _DOUBLINGS_MAX)
        wait_s = min(self.initial_s * 2.0**doublings, self.max_s)
        return wait_s * (1 + self.jitter * (2 * random() - 1))


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again in place after ``delay_s`` seconds; the lane waits, other keys flow."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Delay:
    """Publish the record to a delay topic, and acknowledge it here once that is durable.

    Attributes:
        topic: The delay topic.
        delay_s: How long it waits there, in seconds.
        rung: Delay topics passed, this one included; travels with the record.
    """

    topic: str
    delay_s: float
    rung: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Give up: publish the record to the dead-letter topic."""

    failure: Failure


Decision: TypeAlias = Retry | Delay | DeadLetter


def classify(error: Exception) -> ErrorKind:
    """Whether trying again can help; what is not known to be permanent may pass.

    Raises:
        FatalError: ``error`` itself: that is no record's fault, and the process must end.
    """
    error = decisive(error)
    if isinstance(error, FatalError):
        raise error
    return ErrorKind.PERMANENT if isinstance(error, PermanentError) else ErrorKind.TRANSIENT


def decisive(error: Exception) -> Exception:
    """``error`` itself, or of a group, as a ``TaskGroup`` raises one, what says what follows.

    That is its first fatal error, else its first permanent one (with that part it can never work),
    else its first.
    """
    if not isinstance(error, ExceptionGroup):
        return error
    errors = [decisive(each) for each in error.exceptions]
    for kind in (FatalError, PermanentError):
        for each in errors:
            if isinstance(each, kind):
                return each
    return errors[0]


def after_failure(
    policy: RetryPolicy,
    attempts: int,
    error: Exception,
    random: UnitRandom,
    *,
    handler: str = "",
    rung: int = 0,
) -> Decision:
    """What to do with a record whose attempt number ``attempts`` (from 1) raised ``error``.

    Args:
        policy: The handler's policy.
        attempts: Failed attempts, this one included and those of earlier processes too.
        error: What was raised; never a cancellation, which is no failure.
        random: Source of the jitter.
        handler: Name of the handler, for the failure.
        rung: Delay topics that the record has passed.

    Raises:
        FatalError: ``error`` itself.
    """
    if classify(error) is ErrorKind.TRANSIENT:
        if attempts < policy.attempts:
            delay_s = policy.backoff_s(attempts, random)
            if isinstance(error, TransientError):
                delay_s = max(delay_s, _asked_s(error))
            return Retry(delay_s)
        if rung < len(policy.delay_topics):
            step = policy.delay_topics[rung]
            return Delay(step.topic, step.delay_s, rung + 1)
    return DeadLetter(failure_of(error, stage="handle", handler=handler, attempts=attempts))


def _asked_s(error: TransientError) -> float:
    """The least wait that ``error`` asks for, bounded; 0 if it asks for none.

    Read as the user's code left it: a subclass may not have called our constructor, and text from
    an HTTP header may have gone into it as it was.
    """
    try:
        asked_s = float(getattr(error, "retry_after_s", None) or 0.0)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(asked_s, RETRY_AFTER_MAX_S) if asked_s > 0 else 0.0  # not a number is none
