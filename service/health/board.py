"""Where the event loop leaves the facts of the moment, and when it last turned.

The loop writes, other threads read.  All that is shared is one reference to an immutable
:class:`Beat`, replaced as a whole twice a second, so neither side ever waits for the other.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from service.metrics import ServiceStatus, StatusSource

BEAT_S = 0.5
"""How often the loop writes; also the finest loop lag that is seen."""

LAG_WINDOW_S = 10.0
"""Loop lag is the worst of this long."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What the loop wrote last.

    Attributes:
        at_s: When, by the board's clock.
        lag_s: How late the loop's timers were, at worst, in the last ten seconds.
        status: The facts of that moment.
    """

    at_s: float
    lag_s: float = 0.0
    status: ServiceStatus = field(default_factory=ServiceStatus)


class StatusBoard:
    """The loop's heartbeat and latest snapshot.

    Args:
        source: Asked for a snapshot at every beat, in the loop.
        clock: Monotonic seconds, readable from every thread.
    """

    def __init__(
        self, source: StatusSource, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._clock = clock
        self._lags: deque[tuple[float, float]] = deque()
        self._failing = False
        self.started_at_s = clock()
        self.latest = Beat(at_s=self.started_at_s)

    def now_s(self) -> float:
        """The board's clock, for whoever reads it."""
        return self._clock()

    def age_s(self) -> float:
        """Time since the loop last turned; never much above :data:`BEAT_S` while it does."""
        return self._clock() - self.latest.at_s

    def loop_lag_s(self) -> float:
        """The worst delay of the last ten seconds, the one going on now included."""
        return max(self.latest.lag_s, self.age_s() - BEAT_S)

    async def run(self) -> None:
        """Beat until cancelled.  Run it in the loop that is to be watched."""
        due_s = self._clock()
        while True:
            self.beat(due_s)
            due_s = self._clock() + BEAT_S
            await asyncio.sleep(BEAT_S)

    def beat(self, due_s: float | None = None) -> None:
        """Write down the facts of this moment, now.

        Args:
            due_s: When this beat should have come; the difference is the loop's lag.
        """
        now_s = self._clock()
        lags = self._lags
        lags.append((now_s, 0.0 if due_s is None else max(0.0, now_s - due_s)))
        while lags[0][0] < now_s - LAG_WINDOW_S:
            lags.popleft()
        self.latest = Beat(
            at_s=now_s, lag_s=max(lag_s for _, lag_s in lags), status=self._snapshot()
        )

    def _snapshot(self) -> ServiceStatus:
        """Ask the source; a mistake in telling the facts must not stop the loop that has them."""
        try:
            status = self._source.snapshot()
        except Exception:  # noqa: BLE001 -- the boundary that the docstring speaks of
            if not self._failing:
                _log.exception("snapshot failed")
            self._failing = True
            return self.latest.status
        self._failing = False
        return status
