"""Metric events of 10,000 hosts, one a second each, and the windows that they must add up to.

Time is in the events and goes on whatever the load: a round of one event of every host is a
second.  Values come from a grid whose steps are five times as wide as the error that quantile
sketches are allowed, so the approximate quantiles of a right answer name exactly one grid value.
"""

from bisect import bisect
from itertools import pairwise
from math import log, sqrt
from typing import Any

import orjson

from benchmarks.harness.model import Output

HOSTS = 10_000
SIZE_S = 10
LATENESS_S = 1
START_MS = 1_700_000_000_000
GRID = tuple(round(10 * 1.1**step, 3) for step in range(41))

_BETWEEN = [(log(low) + log(high)) / 2 for low, high in pairwise(GRID)]
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def metric_key(number: int) -> bytes:
    """One of 10,000 hosts, the same order every round."""
    return b"host-%05d" % (number * 7919 % HOSTS)


def _value(number: int) -> float:
    return GRID[(number * 2_654_435_761 >> 9) % len(GRID)]


def metric_value(number: int) -> bytes:
    """The event `number`, 85 bytes or so."""
    at_ms = START_MS + number * 1000 // HOSTS
    return (
        f'{{"timestamp":{at_ms},"host":"host-{number * 7919 % HOSTS:05}",'
        f'"metric":"latency_ms","value":{_value(number)}}}'
    ).encode()


def windows(number: int) -> tuple[Output, ...]:
    """The window of the event's host that is over in the event's round, if there is one.

    The first event of a partition that is a second behind a window's end closes it for all hosts
    of the partition, and each host has one event in that round.
    """
    second, place = divmod(number, HOSTS)
    end_s = second - LATENESS_S
    if end_s < SIZE_S or end_s % SIZE_S:
        return ()
    start_s = end_s - SIZE_S
    values = [_value(each * HOSTS + place) for each in range(start_s, end_s)]
    figures = {
        "start": START_MS + start_s * 1000,
        "end": START_MS + end_s * 1000,
        **figures_of(values),
    }
    return (Output("out", metric_key(number), canonical_window(orjson.dumps(figures))),)


def figures_of(values: list[float]) -> dict[str, Any]:
    """The figures of a window by their definitions."""
    ordered = sorted(values)
    count = len(ordered)
    mean = sum(ordered) / count
    return {
        "count": count,
        "mean": mean,
        "min": ordered[0],
        "max": ordered[-1],
        "std": sqrt(sum((value - mean) ** 2 for value in ordered) / (count - 1)),
        **{name: ordered[int(share * (count - 1))] for name, share in _QUANTILES.items()},
    }


def canonical_window(value: bytes) -> bytes:
    """A window in one spelling: nine digits, and quantiles as the grid value they stand for."""
    figures = orjson.loads(value)
    quantiles = [bisect(_BETWEEN, log(figures[name])) for name in _QUANTILES]
    bounds = [figures[name] for name in ("start", "end", "count")]
    rest = [f"{figures[name]:.9g}" for name in ("mean", "min", "max", "std")]
    return orjson.dumps([*bounds, *rest, *quantiles])


def sequence_of_window(canonical: bytes) -> int:
    """When the window began."""
    start: int = orjson.loads(canonical)[0]
    return start
