"""Whether a peer still takes what it is sent and still answers, and when to ping it.  Pure.

Knows no socket: it is told what the connection sees, and the time.  Kernels take data for programs
that hang, so a peer that was written to is pinged soon, and one that nobody writes to seldom.
"""

from typing import Final

PING_AFTER_WRITE_SHARE: Final = 0.3
"""A peer that was written to is pinged after this share of its time limit."""

PING_IDLE_S: Final = 20.0
"""A peer that was not written to is pinged this often."""

PING_RIDE_SHARE: Final = 0.1
"""How long, of the limit, a ping waits for something to be written that it can go with: of its own
it costs a system call, and on a busy loop clients are written to two or three times a second."""

LOOK_INTERVAL_S: Final = 1.0
"""How often a peer is looked at that owes nothing: what may have begun since can wait so long."""

_ANSWER_SHARE: Final = 1 - PING_AFTER_WRITE_SHARE - PING_RIDE_SHARE
"""What is left of the limit for the answer."""


class Liveness:
    """The signs of life of one peer.

    Args:
        now_s: The time of now, on the clock of every other one here.
        limit_s: What takes nothing, or does not answer, for so long is too slow, in seconds.

    Attributes:
        read: Whether somebody reads what the peer sends.  While nobody does, its silence is ours.
        written: Whether it was written to since its last sign of life.
        ping_waits: Whether a ping is to go with what is written next; :meth:`pinged` says it went.
    """

    __slots__ = (
        "_heard_at_s",
        "_limit_s",
        "_ping_by_s",
        "_pinged_at_s",
        "_stuck_since_s",
        "ping_waits",
        "read",
        "written",
    )

    def __init__(self, now_s: float, limit_s: float) -> None:
        self._limit_s = limit_s
        self.read = True
        self.written = False
        self.ping_waits = False
        self._heard_at_s = now_s
        self._ping_by_s = 0.0
        self._pinged_at_s: float | None = None
        self._stuck_since_s: float | None = None

    def heard(self, now_s: float) -> None:
        """The peer has answered."""
        self._heard_at_s = now_s
        self.written = False

    def pinged(self, now_s: float) -> None:
        """A ping goes out; its answer is waited for from now on."""
        self.ping_waits = False
        self._pinged_at_s = now_s

    def too_slow(self, now_s: float, *, unsent: bool) -> bool:
        """Whether the peer has taken nothing, or not answered, for too long.

        Args:
            now_s: The time of now.
            unsent: Whether something waits for the peer's socket.
        """
        return self._is_stuck(now_s, unsent=unsent) or self._is_silent(now_s)

    def ping_due(self, now_s: float) -> bool:
        """Whether a ping has to go now; one that has time yet waits for company."""
        if self.ping_waits:
            return now_s >= self._ping_by_s
        if self._unanswered_since_s() is None:
            since_s = now_s - max(self._heard_at_s, self._pinged_at_s or 0.0)
            after_s = self._limit_s * PING_AFTER_WRITE_SHARE if self.written else PING_IDLE_S
            if since_s >= after_s:
                self._ping_by_s = now_s + self._limit_s * PING_RIDE_SHARE
                self.ping_waits = True
        return False

    def look_at_s(self, now_s: float) -> float:
        """When to look at the peer again, after a look ``now_s``."""
        if self._stuck_since_s is not None:
            return now_s
        if self.ping_waits:
            return self._ping_by_s
        due_at_s = self._due_at_s()
        latest_s = now_s + LOOK_INTERVAL_S
        return min(due_at_s, latest_s) if due_at_s > now_s else latest_s

    def _due_at_s(self) -> float:
        """When a peer that is being written to has to be pinged, or to have answered."""
        unanswered_since_s = self._unanswered_since_s()
        if unanswered_since_s is None:
            return self._heard_at_s + self._limit_s * PING_AFTER_WRITE_SHARE
        return unanswered_since_s + self._limit_s * _ANSWER_SHARE

    def _is_stuck(self, now_s: float, *, unsent: bool) -> bool:
        """Whether the socket has taken nothing more for too long."""
        if not unsent:
            self._stuck_since_s = None
            return False
        if self._stuck_since_s is None:
            self._stuck_since_s = now_s
        return now_s - self._stuck_since_s >= self._limit_s * (1 - PING_AFTER_WRITE_SHARE)

    def _is_silent(self, now_s: float) -> bool:
        """Whether a ping has gone unanswered for too long."""
        unanswered_since_s = self._unanswered_since_s()
        if unanswered_since_s is None:
            return False
        if not self.read:
            self._pinged_at_s = None  # it is we who do not read: backpressure, not silence
            return False
        return now_s - unanswered_since_s >= self._limit_s * _ANSWER_SHARE

    def _unanswered_since_s(self) -> float | None:
        """When the ping went out whose answer is missing; ``None`` if none is."""
        pinged_at_s = self._pinged_at_s
        return None if pinged_at_s is None or self._heard_at_s >= pinged_at_s else pinged_at_s
