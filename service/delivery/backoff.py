"""How long to wait before trying again."""

import random


class Backoff:
    """Doubling waits with jitter, so that a herd spreads out.

    Each wait is drawn evenly from the upper half of the current bound.

    Args:
        initial_s: First bound, in seconds.
        max_s: Largest bound, in seconds.
    """

    def __init__(self, *, initial_s: float, max_s: float) -> None:
        self._initial_s = initial_s
        self._max_s = max_s
        self._bound_s = initial_s

    def next_s(self) -> float:
        """Seconds to wait now; the bound doubles for the next time."""
        bound_s = self._bound_s
        self._bound_s = min(self._bound_s * 2, self._max_s)
        return random.uniform(bound_s / 2, bound_s)  # noqa: S311 -- jitter, not secrets

    def reset(self) -> None:
        """It worked: begin at the first bound again."""
        self._bound_s = self._initial_s
