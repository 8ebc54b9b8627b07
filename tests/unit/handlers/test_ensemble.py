"""Compares answers with an independent recomputation in exact fractions."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import Any

import pytest

from service.errors import ConfigurationError, SchemaError
from service.handlers import load_handler
from service.state.keyed import Partition

OpenHandler = Callable[..., Awaitable[Any]]


def _exact(method: str, answers: dict[str, tuple[float, float]]) -> Any:
    values = sorted(Fraction(value) for value, _ in answers.values())
    if method == "mean":
        return float(sum(values) / len(values))
    if method == "weighted":
        total = sum(Fraction(v) * Fraction(w) for v, w in answers.values())
        return float(total / sum(Fraction(w) for _, w in answers.values()))
    if method == "median":
        half = len(values) // 2
        return float(values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2)
    votes: dict[float, Fraction] = {}
    for value, weight in answers.values():
        votes[value] = votes.get(value, Fraction(0)) + Fraction(weight)
    return min(votes, key=lambda value: (-votes[value], str(value)))


@pytest.mark.parametrize("method", ["mean", "weighted", "median", "majority"])
async def test_every_request_is_answered_once_whatever_the_order_and_the_duplicates(
    open_handler: OpenHandler, method: str
) -> None:
    random_ = random.Random(7)
    models = 5
    requests = {
        f"r{n}": {
            f"m{m}": (random_.choice([1.0, 2.0, 0.5, 3.25]), random_.choice([1.0, 2.0, 0.1]))
            for m in range(models)
        }
        for n in range(200)
    }
    events = [
        {"request": request, "model": model, "prediction": value, "weight": weight}
        for request, answers in requests.items()
        for model, (value, weight) in answers.items()
    ]
    events += random_.choices(events, k=300)
    random_.shuffle(events)
    opened = await open_handler("ensemble", method=method, models=models)

    published = [value for event in events for value in opened.values(event)]

    answers = {value["request"]: value for value in published}
    assert len(published) == len(answers) == len(requests)
    for request, expected in requests.items():
        answer = answers[request]
        assert answer["prediction"] == pytest.approx(_exact(method, expected), rel=1e-12)
        assert answer["complete"]
        assert answer["status"] == "ok"


def _prediction(request: str, model: str, value: Any = 1.0) -> dict[str, Any]:
    return {"request": request, "model": model, "prediction": value}


async def test_at_the_deadline_a_quorum_suffices_and_less_is_no_answer(
    open_handler: OpenHandler,
) -> None:
    opened = await open_handler("ensemble", models=3, quorum=2, deadline_s=5)
    opened.values(_prediction("few", "a"))
    await asyncio.sleep(1)
    opened.values(_prediction("enough", "a", 1.0))
    opened.values(_prediction("enough", "b", 3.0))

    await asyncio.sleep(3.9)
    assert opened.tick() == []
    await asyncio.sleep(0.1)
    (few,) = opened.tick()
    await asyncio.sleep(1)
    (enough,) = opened.tick()

    assert (few["request"], few["status"], few["prediction"]) == ("few", "no_quorum", None)
    assert (enough["status"], enough["prediction"], enough["complete"]) == ("ok", 2.0, False)
    assert enough["models"] == ["a", "b"]


async def test_a_late_prediction_is_reported_where_the_options_say(
    open_handler: OpenHandler,
) -> None:
    opened = await open_handler("ensemble", models=1, late_topic="late")
    opened.values(_prediction("r", "a"))

    (late,) = opened.results(_prediction("r", "b", 9))

    assert late.topic == "late"
    assert late.value == {"request": "r", "model": "b", "prediction": 9, "status": "late"}


async def test_the_event_that_completed_a_request_answers_again_when_it_comes_again(
    open_handler: OpenHandler,
) -> None:
    opened = await open_handler("ensemble", models=2)
    opened.values(_prediction("r", "a"), offset=10)
    answer = opened.values(_prediction("r", "b"), offset=11)

    assert opened.values(_prediction("r", "b"), offset=11) == answer
    assert opened.values(_prediction("r", "a"), offset=10) == []


async def test_an_answer_at_the_deadline_goes_with_the_partition_of_its_state(
    open_handler: OpenHandler,
) -> None:
    opened = await open_handler("ensemble", models=2, quorum=1, deadline_s=5)
    opened.values(_prediction("r", "a"))
    await asyncio.sleep(5)

    (answer,) = opened.bound.tick(asyncio.get_running_loop().time())

    assert (answer.place, answer.key) == (Partition("input", 0), "r")


async def test_open_requests_of_a_restored_partition_get_a_deadline(
    open_handler: OpenHandler,
) -> None:
    opened = await open_handler("ensemble", models=2, deadline_s=5)
    opened.values(_prediction("r", "a"))
    await opened.bound.revoked("input", 0)
    await asyncio.sleep(9)
    assert opened.tick() == []

    await opened.bound.assigned(*Partition("input", 0))
    await asyncio.sleep(5)

    assert [value["request"] for value in opened.tick()] == ["r"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"request": None}, "request"),
        ({"prediction": "high"}, "prediction"),
        ({"prediction": None}, "prediction"),
        ({"weight": 0}, "weight"),
        ({"prediction": -1.5e308}, "prediction"),
        ({"weight": 1.5e308}, "weight"),
    ],
    ids=["no request", "no number", "no prediction", "no weight", "no sum", "no sum of weights"],
)
async def test_a_prediction_that_cannot_be_used_is_a_schema_error(
    open_handler: OpenHandler, change: dict[str, Any], path: str
) -> None:
    opened = await open_handler("ensemble", models=2)

    with pytest.raises(SchemaError) as caught:
        opened.values({**_prediction("r", "a"), **change})

    assert caught.value.path == path


def test_a_quorum_beyond_the_models_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a quorum of 3 among 2"):
        load_handler("ensemble").bind({"models": 2, "quorum": 3})


@pytest.mark.parametrize("ttl_s", [0.5, 2])
def test_a_request_cannot_be_forgotten_before_its_deadline(ttl_s: float) -> None:
    with pytest.raises(ConfigurationError, match="would forget a request"):
        load_handler("ensemble").bind({"models": 2, "deadline_s": 2, "ttl_s": ttl_s})
    load_handler("ensemble").bind({"models": 2, "deadline_s": 2, "ttl_s": 2.5})


@pytest.mark.parametrize(
    ("predictions", "answer"),
    [
        ([True, 1, "yes", "yes"], "yes"),
        ([0, False, "no", "no"], "no"),
        ([1, 1.0, "yes"], 1),
        ([True, True, 1], True),
    ],
    ids=["true and 1", "0 and false", "one number", "true twice"],
)
async def test_a_majority_tells_true_from_the_number_1(
    open_handler: OpenHandler, predictions: list[Any], answer: Any
) -> None:
    opened = await open_handler("ensemble", method="majority", models=len(predictions))

    told = [
        value
        for number, prediction in enumerate(predictions)
        for value in opened.values(
            {"request": "r", "model": f"m{number}", "prediction": prediction}
        )
    ]

    assert repr(told[0]["prediction"]) == repr(answer)
