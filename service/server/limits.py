"""How much one client, one address and all of them together may take.  Pure."""

from collections import Counter
from typing import Final

SAVED_S: Final = 1.0
"""What was saved beyond the burst lapses when nothing is taken for so long."""


class TokenBucket:
    """A rate with a burst: ``rate_per_s`` on average, ``burst`` at once.

    Args:
        rate_per_s: Refill, above 0.
        burst: Most that can be saved up; at least 1.
        now_s: The time of now on the clock that :meth:`take` is asked with.
    """

    __slots__ = ("_burst", "_level", "_rate_per_s", "_refilled_at_s")

    def __init__(self, rate_per_s: float, burst: float, now_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._level = burst
        self._refilled_at_s = now_s

    def take(self, now_s: float) -> bool:
        """Take one, if there is one."""
        self._refill(now_s)
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def take_in(self, now_s: float) -> float:
        """Take one in advance; how many seconds to wait until it is there."""
        self._refill(now_s)
        self._level -= 1
        return max(-self._level / self._rate_per_s, 0.0)

    def give_back(self) -> None:
        """Undo a :meth:`take_in` that was not used."""
        self._level += 1

    def save(self, now_s: float) -> None:
        """Refill beyond the burst for the time since the last call of any kind.

        For when nobody could take: what piled up meanwhile comes at once, and the average stays the
        same.  It lapses when nothing is taken for :data:`SAVED_S`: then nothing had piled up.
        """
        self._level += self._gained(now_s)

    def _refill(self, now_s: float) -> None:
        lapsed = now_s - self._refilled_at_s > SAVED_S
        filled = min(self._level + self._gained(now_s), self._burst)
        self._level = filled if lapsed else max(self._level, filled)

    def _gained(self, now_s: float) -> float:
        gained = (now_s - self._refilled_at_s) * self._rate_per_s
        self._refilled_at_s = now_s
        return gained


class ConnectionLimits:
    """Counts open connections.

    Args:
        total: Most of all.
        per_principal: Most of one principal; ``None`` for no limit.  Does not apply to anybody.
        per_address: Most of one peer address; ``None`` for no limit.
    """

    def __init__(self, *, total: int, per_principal: int | None, per_address: int | None) -> None:
        self._total = total
        self._per_principal = per_principal
        self._per_address = per_address
        self._principals: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        self.open = 0

    def acquire(self, principal: str | None, address: str) -> str | None:
        """Count one more; or say which limit it would break, and count nothing."""
        if self.open >= self._total:
            return "too many connections"
        if (
            principal is not None
            and self._per_principal is not None
            and self._principals[principal] >= self._per_principal
        ):
            return "too many connections of this token"
        if self._per_address is not None and self._addresses[address] >= self._per_address:
            return "too many connections from this address"
        self.open += 1
        self._addresses[address] += 1
        if principal is not None:
            self._principals[principal] += 1
        return None

    def release(self, principal: str | None, address: str) -> None:
        """Count one less."""
        self.open -= 1
        _less(self._addresses, address)
        if principal is not None:
            _less(self._principals, principal)


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
