import math
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.errors import SchemaError

OpenHandler = Callable[..., Awaitable[Any]]


async def test_progress_only_moves_forward_and_ends_with_the_truth(
    open_handler: OpenHandler,
) -> None:
    random_ = random.Random(3)
    totals = {f"job-{n}": random_.randint(50, 500) for n in range(50)}
    events: list[tuple[dict[str, Any], int]] = []
    for job, total in totals.items():
        steps = [({"job": job, "done": n, "total": total}, n * 100) for n in range(total + 1)]
        steps += random_.choices(steps, k=total // 2)
        steps.sort(key=lambda step: step[1] + random_.uniform(0, 1000))
        events += steps
    opened = await open_handler("progress", step_percent=5)

    told: dict[str, list[dict[str, Any]]] = {}
    for data, timestamp in events:
        for value in opened.values(data, timestamp=timestamp):
            told.setdefault(value["job"], []).append(value)

    for job, total in totals.items():
        percents = [value["percent"] for value in told[job]]
        assert percents == sorted(percents)
        assert len(percents) <= 22
        last = told[job][-1]
        assert (last["done"], last["percent"], last["finished"]) == (total, 100.0, True)
        assert last["eta_s"] == 0.0


async def test_rate_and_time_left_follow_from_the_events_own_timestamps(
    open_handler: OpenHandler,
) -> None:
    opened = await open_handler("progress")
    (first,) = opened.values({"job": "j", "done": 10, "total": 100}, timestamp=1000)

    (second,) = opened.values({"job": "j", "done": 40, "total": 100}, timestamp=7000)

    assert (first["rate"], first["eta_s"]) == (None, None)
    assert second == {
        "job": "j", "done": 40, "total": 100, "percent": 40.0,
        "rate": 5.0, "eta_s": 12.0, "finished": False,
    }  # fmt: skip


async def test_the_total_may_become_known_later(open_handler: OpenHandler) -> None:
    opened = await open_handler("progress")

    (unknown,) = opened.values({"job": "j", "done": 10})
    (known,) = opened.values({"job": "j", "done": 10, "total": 40})
    (kept,) = opened.values({"job": "j", "done": 20})

    assert (unknown["percent"], known["percent"], kept["percent"]) == (None, 25.0, 50.0)


async def test_an_event_that_told_tells_again_when_it_comes_again(
    open_handler: OpenHandler,
) -> None:
    opened = await open_handler("progress")
    data = {"job": "j", "done": 10, "total": 40}

    assert opened.values(data, offset=5) == opened.values(data, offset=5) != []
    assert opened.values(data, offset=6) == []


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"done": 1}, "job"),
        ({"job": "j"}, "done"),
        ({"job": "j", "done": "1"}, "done"),
        ({"job": "j", "done": 1, "total": -1}, "total"),
        ({"job": "j", "done": -1e308}, "done"),
    ],
    ids=["no job", "no count", "text", "negative total", "beyond a percentage"],
)
async def test_what_is_no_progress_is_a_schema_error(
    open_handler: OpenHandler, data: Any, path: str
) -> None:
    opened = await open_handler("progress")

    with pytest.raises(SchemaError) as caught:
        opened.values(data)

    assert caught.value.path == path


async def test_a_percentage_is_a_number_however_small_the_total(open_handler: OpenHandler) -> None:
    opened = await open_handler("progress")

    (told,) = opened.values({"job": "j", "done": -5, "total": 5e-324})

    assert math.isfinite(told["percent"])
