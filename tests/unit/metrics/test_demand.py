import itertools
import math
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.metrics.demand import BEHIND_S, HOLD_S, UTILIZATION, ReplicaDemand

_VALUES = yaml.safe_load(
    (Path(__file__).parents[3] / "helm/headrace/values.yaml").read_text(encoding="utf-8")
)
_PARTITIONS = 96
_CAPACITY = 1000.0
_REBALANCE_S = 3
_START_S = 5
_POLL_S = 15


class _Autoscaler:
    """A HorizontalPodAutoscaler with the chart's behaviour, asked for an average value of 1.

    Kubernetes' documented algorithm: tolerance of a tenth, the largest (smallest) recommendation of
    the stabilization window when going down (up), and the policies' limit per period.
    """

    def __init__(self, behavior: dict[str, Any], replicas: int) -> None:
        self._up, self._down = behavior["scaleUp"], behavior["scaleDown"]
        self._wanted: list[tuple[float, int]] = []
        self._sizes = [(0.0, replicas)]

    def decide(self, now_s: float, total: float, replicas: int) -> int:
        near = abs(total / replicas - 1) <= 0.1
        self._wanted.append((now_s, replicas if near else min(math.ceil(total), _PARTITIONS)))
        wanted = self._wanted[-1][1]
        if wanted > replicas:
            wanted = max(replicas, min(self._recent(self._up, now_s)))
            percent = self._up["policies"][0]
            before = self._size(now_s - percent["periodSeconds"])
            wanted = min(wanted, math.ceil(before * (1 + percent["value"] / 100)))
        elif wanted < replicas:
            wanted = min(replicas, max(self._recent(self._down, now_s)))
            pods = self._down["policies"][0]
            wanted = max(wanted, self._size(now_s - pods["periodSeconds"]) - pods["value"])
        self._sizes.append((now_s, wanted))
        return max(wanted, 1)

    def _recent(self, rules: dict[str, Any], now_s: float) -> list[int]:
        since_s = now_s - rules["stabilizationWindowSeconds"]
        return [wanted for at_s, wanted in self._wanted if at_s >= since_s]

    def _size(self, at_s: float) -> int:
        return next((size for when_s, size in reversed(self._sizes) if when_s <= at_s), 1)


class _Member:
    """One replica: its partitions' backlogs, its estimate, and what it has done."""

    def __init__(self) -> None:
        self.demand = ReplicaDemand()
        self.partitions: list[int] = []
        self.acked = 0.0
        self.share = 0.0


class _Group:
    """A consumer group that works off `arriving` records a second with as many members as told."""

    def __init__(self, replicas: int, chance: random.Random) -> None:
        self._chance = chance
        self._backlog = [0.0] * _PARTITIONS
        self._idle_until_s = 0.0
        self.members = [_Member() for _ in range(replicas)]
        self._assign()

    def _assign(self) -> None:
        for place, member in enumerate(self.members):
            member.partitions = list(range(place, _PARTITIONS, len(self.members)))

    def resize(self, replicas: int, now_s: float) -> None:
        grown = replicas - len(self.members)
        self.members = [*self.members[:replicas], *(_Member() for _ in range(grown))]
        self._idle_until_s = now_s + _REBALANCE_S + (_START_S if grown > 0 else 0)
        self._assign()

    def second(self, now_s: float, arriving: float) -> float:
        """Pass one second; returns the sum of the shares."""
        for partition in range(_PARTITIONS):
            self._backlog[partition] += arriving / _PARTITIONS * self._chance.uniform(0.7, 1.3)
        for member in self.members:
            if now_s >= self._idle_until_s:
                self._work(member)
            lag = sum(self._backlog[partition] for partition in member.partitions)
            member.share = member.demand.observe(
                now_s,
                acked=int(member.acked),
                lag=int(lag),
                lag_s=lag / (arriving * len(member.partitions) / _PARTITIONS),
                partitions=frozenset(member.partitions),
            )
        return sum(member.share for member in self.members)

    def _work(self, member: _Member) -> None:
        room = _CAPACITY * self._chance.uniform(0.9, 1.1)
        there = sum(self._backlog[partition] for partition in member.partitions)
        done = min(room, there)
        member.acked += done
        for partition in member.partitions:
            self._backlog[partition] *= 1 - done / there if there else 1


def _simulate(
    loads: list[tuple[int, float]], *, replicas: int, seed: int
) -> list[tuple[int, int, float]]:
    """Second, replicas and backlog of a run; `loads` are (seconds, records a second)."""
    group = _Group(replicas, random.Random(seed))
    autoscaler = _Autoscaler(_VALUES["keda"]["behavior"], replicas)
    history = []
    now_s = 0
    for seconds, arriving in loads:
        for _ in range(seconds):
            total = group.second(float(now_s), arriving)
            if now_s % _POLL_S == 0:
                wanted = autoscaler.decide(float(now_s), total, len(group.members))
                if wanted != len(group.members):
                    group.resize(wanted, float(now_s))
            history.append((now_s, len(group.members), sum(group._backlog)))
            now_s += 1
    return history


def _changes(history: list[tuple[int, int, float]]) -> list[int]:
    sizes = [size for _, size, _ in history]
    return [after - before for before, after in itertools.pairwise(sizes) if after != before]


@pytest.mark.parametrize("seed", range(3))
def test_ten_times_the_load_is_met_without_flapping_or_overshoot(seed: int) -> None:
    calm, storm = 1_500.0, 15_000.0
    needed = math.ceil(storm / (_CAPACITY * UTILIZATION))

    history = _simulate([(300, calm), (1800, storm)], replicas=2, seed=seed)

    before = [size for at_s, size, _ in history if at_s < 300]
    after = [size for at_s, size, _ in history if at_s >= 300]
    assert set(before) == {2}
    assert max(after) <= needed + 1
    assert after[-1] >= math.ceil(storm / _CAPACITY)
    assert all(change > 0 for change in _changes(history)), "it never goes down under the load"
    assert history[-1][2] < storm * BEHIND_S, "nobody is behind any more"


def test_the_load_going_away_takes_the_replicas_back_once_and_one_by_one() -> None:
    history = _simulate([(60, 1_500.0), (1800, 6_000.0), (1800, 1_500.0)], replicas=2, seed=1)

    gone_s = 1860
    down = _changes([row for row in history if row[0] >= gone_s])
    first_s = next(at_s for at_s, size, _ in history if at_s > gone_s and size < history[gone_s][1])
    assert set(down) == {-1}
    assert first_s >= gone_s + HOLD_S * 0.9
    assert history[-1][1] in {2, 3}


def test_a_process_without_partitions_asks_for_nothing() -> None:
    assert ReplicaDemand().observe(0.0, acked=0, lag=0, lag_s=0.0, partitions=frozenset()) == 0.0


def test_a_process_that_always_kept_up_asks_to_stay() -> None:
    demand = ReplicaDemand()

    shares = {
        demand.observe(
            float(second), acked=9000 * second, lag=20, lag_s=0.1, partitions=frozenset({0, 1})
        )
        for second in range(600)
    }

    assert shares == {1.0}


def test_no_share_is_above_the_partitions_that_could_be_taken_away() -> None:
    demand = ReplicaDemand()
    share = 0.0

    for second in range(60):
        share = demand.observe(
            float(second),
            acked=100 * second,
            lag=100_000 * second,
            lag_s=60.0,
            partitions=frozenset({0, 1, 2}),
        )

    assert share == 3.0


def test_a_stall_of_the_brokers_is_no_reason_for_more_replicas() -> None:
    demand = ReplicaDemand()
    partitions = frozenset(range(50))
    for second in range(120):  # works at its limit of 1000/s, and just keeps its backlog
        demand.observe(
            float(second), acked=1000 * second, lag=9000, lag_s=9.0, partitions=partitions
        )

    shares = [
        demand.observe(
            float(120 + second),
            acked=120_000,
            lag=9000 + 1000 * second,
            lag_s=9.0 + second,
            partitions=partitions,
        )
        for second in range(300)
    ]

    assert max(shares) <= 1.5


def test_what_is_known_of_partitions_goes_with_them_in_a_rebalance() -> None:
    demand = ReplicaDemand()
    for second in range(60):
        demand.observe(
            float(second),
            acked=500 * second,
            lag=1500 * second,
            lag_s=10.0,
            partitions=frozenset(range(8)),
        )

    share = demand.observe(
        60.0, acked=30_000, lag=45_000, lag_s=10.0, partitions=frozenset(range(4))
    )

    assert share == pytest.approx(2.5)  # half of 2000 / (500 * 0.8)
