"""A circuit breaker for one handler: stop intake while what it depends on is down.

While a database is away, retrying every record burns each one's attempts and sends good records
to the dead-letter topic.  So after enough transient failures the circuit opens: no call is
started, nothing is dead-lettered, records wait where they are and the source stops reading.
After a while one probe goes through; its success closes it again.

Only transient failures count: a record that can never succeed says nothing about the database.

Pure: times are ``loop.time()`` seconds, handed in.
"""

from dataclasses import dataclass
from enum import Enum


class CircuitState(Enum):
    """Where the circuit is."""

    CLOSED = "closed"
    """Calls may start."""
    OPEN = "open"
    """None may start yet."""
    HALF_OPEN = "half_open"
    """One may, as a probe, or has: what becomes of it decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitPolicy:
    """When to open and when to try again.

    Args:
        failures: Transient failures in a row that open the circuit; 0 turns it off.
        reset_s: Seconds from opening to the first probe; doubles with each probe that fails.
        reset_max_s: Longest such wait.

    Raises:
        ValueError: If a number is out of its range.
    """

    failures: int = 20
    reset_s: float = 1.0
    reset_max_s: float = 30.0

    def __post_init__(self) -> None:
        if self.failures < 0:
            raise ValueError("failures must be at least 0")
        if not 0 < self.reset_s <= self.reset_max_s:
            raise ValueError("reset_s must be above 0 and at most reset_max_s")


class CircuitBreaker:
    """Decides whether a call may start; told how each one that started has ended.

    :meth:`enter` gives a ticket, and exactly one of :meth:`succeeded`, :meth:`failed` and
    :meth:`cancelled` takes it back.  Calls that were under way when the circuit opened hold
    tickets of an earlier age, which say nothing any more and are ignored.

    Args:
        policy: When to open and when to try again.
    """

    __slots__ = (
        "_age",
        "_opened_at_s",
        "_policy",
        "_reset_s",
        "_row",
        "_state",
    )

    def __init__(self, policy: CircuitPolicy) -> None:
        self._policy = policy
        self._state = CircuitState.CLOSED
        self._age = 0
        self._row = 0
        self._opened_at_s = 0.0
        self._reset_s = policy.reset_s

    def state(self, now_s: float) -> CircuitState:
        """Where it is at ``now_s``; open becomes half open by time alone."""
        if self._state is CircuitState.OPEN and now_s >= self._opened_at_s + self._reset_s:
            return CircuitState.HALF_OPEN
        return self._state

    def enter(self, now_s: float) -> int | None:
        """A ticket for one call, or ``None`` if none may start now.  O(1)."""
        if self._state is CircuitState.CLOSED:
            return self._age
        if self._state is CircuitState.HALF_OPEN or self.state(now_s) is CircuitState.OPEN:
            return None
        self._state = CircuitState.HALF_OPEN
        return self._age

    def retry_at_s(self) -> float | None:
        """When to ask again after a refusal; ``None`` when a probe's end decides, or closed."""
        if self._state is CircuitState.OPEN:
            return self._opened_at_s + self._reset_s
        return None

    def succeeded(self, ticket: int) -> None:
        """The call ended well, or failed for good by its record's own fault."""
        if ticket != self._age:
            return
        if self._state is CircuitState.HALF_OPEN:
            self._close()
            return
        self._row = 0

    def failed(self, ticket: int, now_s: float) -> None:
        """The call failed in a way that may pass, a timeout included."""
        if ticket != self._age or not self._policy.failures:
            return
        if self._state is CircuitState.HALF_OPEN:
            self._open(now_s, min(self._reset_s * 2, self._policy.reset_max_s))
            return
        self._row += 1
        if self._row >= self._policy.failures:
            self._open(now_s, self._policy.reset_s)

    def cancelled(self, ticket: int) -> None:
        """The call was cancelled, which says nothing about it; a probe's place is free again."""
        if ticket == self._age and self._state is CircuitState.HALF_OPEN:
            self._state = CircuitState.OPEN  # whose time is over, so the next call is the probe

    def _open(self, now_s: float, reset_s: float) -> None:
        self._start_age(CircuitState.OPEN)
        self._opened_at_s = now_s
        self._reset_s = reset_s

    def _close(self) -> None:
        self._start_age(CircuitState.CLOSED)
        self._reset_s = self._policy.reset_s

    def _start_age(self, state: CircuitState) -> None:
        self._state = state
        self._age += 1
        self._row = 0
