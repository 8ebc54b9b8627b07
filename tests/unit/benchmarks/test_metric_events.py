"""The windows that the benchmark demands are those of its events, whoever adds them up."""

from collections import defaultdict

import orjson

from benchmarks.jobs.metric_events import (
    GRID,
    HOSTS,
    canonical_window,
    figures_of,
    metric_key,
    metric_value,
    windows,
)


def test_each_host_has_one_event_a_second() -> None:
    keys = [metric_key(number) for number in range(2 * HOSTS)]
    events = [orjson.loads(metric_value(number)) for number in (0, HOSTS - 1, HOSTS)]

    assert len(set(keys[:HOSTS])) == HOSTS
    assert keys[:HOSTS] == keys[HOSTS:]
    assert [event["timestamp"] % 10_000 for event in events] == [0, 999, 1000]


def test_the_windows_are_those_of_a_plain_sum_over_all_events() -> None:
    values: defaultdict[tuple[bytes, int], list[float]] = defaultdict(list)
    found = {}
    for number in range(22 * HOSTS):
        if number % 100 == 7:  # some of the hosts, all of their events
            event = orjson.loads(metric_value(number))
            start = event["timestamp"] // 10_000 * 10_000
            values[event["host"].encode(), start].append(event["value"])
            for output in windows(number):
                found[output.key, orjson.loads(output.value)[0]] = output.value

    expected = {
        (key, start): canonical_window(
            orjson.dumps({"start": start, "end": start + 10_000, **figures_of(some)})
        )
        for (key, start), some in values.items()
        if len(some) == 10
    }
    assert found == expected
    assert len(found) == 2 * HOSTS // 100


def test_a_quantile_within_its_error_names_its_grid_value_and_no_other() -> None:
    told = set()
    for value in GRID:
        same = {"start": 0, "end": 1, **figures_of([value, value])}
        off = [same | {"p50": value * factor} for factor in (0.99, 1.0, 1.01)]
        (spelling,) = {canonical_window(orjson.dumps(each)) for each in off}
        told.add(spelling)

    assert len(told) == len(GRID)
