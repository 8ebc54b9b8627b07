import math
import random
import statistics
from typing import Any

import pytest
from pydantic import ValidationError

from service.handlers import load_handler
from service.handlers.anomaly import AnomalyOptions
from service.testing.broker import MemoryBroker
from service.testing.harness import Harness, pipeline_of

load_handler("anomaly")  # importing reads files, which a coroutine must not do


def config(**options: Any) -> dict[str, Any]:
    return pipeline_of("anomaly", options={"key": "k", "value": "v", **options})


def noise(count: int, seed: int = 3) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(100, 5) for _ in range(count)]


async def reports(values: list[float], **options: Any) -> list[dict[str, Any]]:
    async with Harness(config(**options)) as service:
        for at_ms, value in enumerate(values):
            await service.send({"k": "a", "v": value}, timestamp=at_ms)
        await service.settle()
        assert service.dead_letters() == []
        return service.outputs()


METHODS = pytest.mark.parametrize("method", ["ewma", "robust"])


@METHODS
async def test_one_incident_is_one_alert_and_one_end(method: str) -> None:
    values = [*noise(200), *[200.0, 201.0, 150.0, 202.0], *noise(50, seed=4)]

    told = await reports(values, method=method, threshold=5)

    assert [each["status"] for each in told] == ["open", "closed"]
    assert told[0]["value"] == 200.0
    assert told[1]["since"] == 200
    assert told[1]["peak"] >= told[0]["peak"]
    assert told[1]["values"] >= 4


@METHODS
async def test_nothing_is_told_while_there_is_little_to_compare_with(method: str) -> None:
    assert await reports([*noise(20), 1000.0], method=method, warmup=30) == []


@METHODS
async def test_a_series_without_any_deviation_is_never_an_anomaly(method: str) -> None:
    assert await reports([5.0] * 100, method=method) == []


async def test_a_value_beyond_every_deviation_is_told_with_a_score_that_is_a_number() -> None:
    usual = [0.0, 5e-324, 1e-323] * 10

    (told,) = await reports([*usual, 1e100], method="robust", window=5, warmup=9)

    assert (told["status"], told["value"]) == ("open", 1e100)
    assert math.isfinite(told["score"])


async def test_a_new_level_becomes_usual_after_a_while() -> None:
    told = await reports([*noise(100), *(value + 60 for value in noise(400, seed=5))], threshold=4)

    assert [each["status"] for each in told] == ["open", "closed"]


async def test_the_weighted_score_is_that_of_the_plain_recurrence() -> None:
    values = [*noise(60), 400.0]
    alpha, mean, variance = 0.05, values[0], 0.0
    for place, value in enumerate(values[1:-1], start=1):
        delta = value - mean
        if place >= 30:
            reach = 4.0 * math.sqrt(variance)
            delta = min(max(delta, -reach), reach)
        mean += alpha * delta
        variance = (1 - alpha) * (variance + alpha * delta * delta)

    (told,) = await reports(values)

    assert told["score"] == pytest.approx((400.0 - mean) / math.sqrt(variance))


async def test_the_robust_score_is_that_of_the_statistics_module() -> None:
    values = noise(60)
    median = statistics.median(values)
    mad = statistics.median([abs(value - median) for value in values])

    (told,) = await reports([*values, 400.0], method="robust", threshold=10, clear=5, warmup=60)

    assert told["score"] == pytest.approx(0.6745 * (400.0 - median) / mad)


async def test_an_incident_goes_on_after_a_restart_and_is_not_told_again() -> None:
    broker = MemoryBroker()
    async with Harness(config(), broker=broker) as first:
        for value in [*noise(100), 300.0]:
            await first.send({"k": "a", "v": value})
        await first.settle()
        await first.kill()

    async with Harness(config(), broker=broker) as second:
        for value in [300.0, *noise(20)]:
            await second.send({"k": "a", "v": value})
        await second.settle()

        assert [each["status"] for each in second.outputs()] == ["open", "closed"]


def test_an_end_beyond_the_beginning_is_refused() -> None:
    with pytest.raises(ValidationError, match="clear"):
        AnomalyOptions(threshold=2, clear=3)
