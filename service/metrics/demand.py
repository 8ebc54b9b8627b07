"""How many replicas a pipeline needs, as far as one process can tell.

A process sees only its own partitions, so it reports a *share*: how many replicas their load keeps
busy.  The sum over all processes, rounded up, is the number to scale to.  A replica is one process
here; where several make one, whoever reports the share divides it by their number.  Pure arithmetic
on what it is told: no clock, no client, no knowledge of an autoscaler.

``share = arriving / (capacity * UTILIZATION)``, at most one replica per partition, where

* ``arriving`` is how fast records arrive: what was done plus how much the lag grew, over a window;
* ``capacity`` is how fast this process works when it has to: its rate, measured while the lag in
  seconds says that it cannot keep up.  Until that has happened once, nobody knows it, and the share
  is one replica: stay as you are.

The rest of the capacity is what works off a backlog.  A backlog does not raise the share: pods that
come for a backlog go when it is gone, and each coming and going stops the whole group.

Hysteresis: the share rises at once, and falls only to the largest of the last five minutes.
"""

from collections import deque
from collections.abc import Hashable
from collections.abc import Set as AbstractSet

UTILIZATION = 0.8
"""Share of a replica's capacity that is planned for."""

BEHIND_S = 5.0
"""A process whose oldest record is older than this works as fast as it can."""

WINDOW_S = 30.0
"""Rates look back this far: long against batches and commits, short against scaling."""

SHORTEST_S = 10.0
"""What a rate needs to be one, after the start and after each rebalance."""

HOLD_S = 300.0
"""A share falls only when it was lower for this long."""

STEP_S = 1.0
"""Looks that come sooner than this are answered from the last one."""

_STALL_RATIO = 0.05
"""A rate below this part of the capacity is a stall (brokers, a dependency), not a slower service:
more replicas would stall as well."""

_FORGETTING_S = 120.0
"""Time constant in which a capacity that is no longer reached is believed to be lower."""


class ReplicaDemand:
    """The share of one pipeline in one process.

    >>> demand = ReplicaDemand()
    >>> for second in range(60):  # 500 records/s done while 1500/s arrive
    ...     share = demand.observe(
    ...         float(second),
    ...         acked=500 * second,
    ...         lag=1000 * second,
    ...         lag_s=10.0,
    ...         partitions=frozenset({0, 1, 2, 3, 4, 5}),
    ...     )
    >>> round(share, 2)  # 1500 / (500 * 0.8)
    3.75
    """

    __slots__ = ("_behind_since_s", "_capacity", "_held", "_partitions", "_seen", "_share")

    def __init__(self) -> None:
        self._partitions: AbstractSet[Hashable] = frozenset()
        self._seen: deque[tuple[float, int, int]] = deque()
        # When and how much, falling: what a later and larger share outlives is not kept.
        self._held: deque[tuple[float, float]] = deque()
        self._capacity = 0.0
        self._behind_since_s: float | None = None
        self._share = 0.0

    def observe(
        self,
        now_s: float,
        *,
        acked: int,
        lag: int | None,
        lag_s: float,
        partitions: AbstractSet[Hashable],
    ) -> float:
        """Take in the facts of this moment; returns the share.

        Args:
            now_s: A monotonic clock, in seconds; never less than in the call before.
            acked: Records done since the process began.
            lag: Records between the committed positions of ``partitions`` and their ends; ``None``
                while that is not known of one of them, because it is not read yet.
            lag_s: Age of the oldest record that is not committed, in seconds.
            partitions: What is assigned now.

        Returns:
            Replicas, 0 to ``len(partitions)``; not rounded, because shares are added up.
        """
        if partitions != self._partitions:
            self._reassign(partitions)
        if self._seen and now_s - self._seen[-1][0] < STEP_S:
            return self._share
        if lag is None:
            self._seen.clear()  # what turns up in it has not arrived just then
        else:
            self._remember(now_s, acked, lag)
            self._notice(now_s, lag_s)
        self._share = min(self._hold(now_s), float(len(partitions)))
        return self._share

    def _reassign(self, partitions: AbstractSet[Hashable]) -> None:
        """Take the known load of the partitions that stay; rates start anew, as the lag jumps."""
        before, now = len(self._partitions), len(partitions)
        self._partitions = frozenset(partitions)
        self._seen.clear()
        self._behind_since_s = None
        if not before or not now:
            self._held.clear()
        else:
            self._held = deque((at_s, share * now / before) for at_s, share in self._held)

    def _remember(self, now_s: float, acked: int, lag: int) -> None:
        if len(self._seen) == 1 and self._seen[0][1] == acked:
            # Joining the group and fetching for the first time is not slow work.
            self._seen.clear()
        self._seen.append((now_s, acked, lag))
        while len(self._seen) > 1 and self._seen[1][0] <= now_s - WINDOW_S:
            self._seen.popleft()

    def _notice(self, now_s: float, lag_s: float) -> None:
        """Learn the capacity while behind; then hold the share that the arriving load asks for."""
        if lag_s < BEHIND_S:
            self._behind_since_s = None
        elif self._behind_since_s is None:
            self._behind_since_s = now_s
        then_s, acked, lag = self._seen[0]
        elapsed_s = now_s - then_s
        if elapsed_s < SHORTEST_S:
            return
        done = (self._seen[-1][1] - acked) / elapsed_s
        arriving = max(0.0, done + (self._seen[-1][2] - lag) / elapsed_s)
        if self._behind_since_s is not None and self._behind_since_s <= then_s:
            self._learn(done, now_s - self._seen[-2][0])
        elif self._capacity:
            self._capacity = max(self._capacity, done)
        if self._capacity:
            share = arriving / (self._capacity * UTILIZATION)
            while self._held and self._held[-1][1] <= share:
                self._held.pop()
            self._held.append((now_s, share))

    def _learn(self, done: float, elapsed_s: float) -> None:
        if done > self._capacity:
            self._capacity = done
        elif done > self._capacity * _STALL_RATIO:
            self._capacity += (done - self._capacity) * min(1.0, elapsed_s / _FORGETTING_S)

    def _hold(self, now_s: float) -> float:
        """The largest share of the last minutes; one replica while nothing is known."""
        while self._held and self._held[0][0] < now_s - HOLD_S:
            self._held.popleft()
        return self._held[0][1] if self._held else 1.0
