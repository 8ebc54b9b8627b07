from collections.abc import Callable
from typing import Any

from service import Event, TransientError, handler
from service.testing.harness import Harness

Headrace = Callable[..., Harness]


class Database:
    """What a handler depends on, away or there."""

    def __init__(self) -> None:
        self.away = True
        self.calls = 0


DATABASE = Database()


@handler("circuit.store")
async def store(event: Event) -> dict[str, Any]:
    DATABASE.calls += 1
    if DATABASE.away:
        raise TransientError("the database is away")
    return {"n": event.data["n"]}


async def test_an_open_circuit_burns_no_retries_and_loses_nothing(headrace: Headrace) -> None:
    DATABASE.away, DATABASE.calls = True, 0
    options = {
        "circuit_breaker": {"failures": 3, "reset_s": 10},
        "retry": {"attempts": 2, "initial_s": 0.1},
        "concurrency": 1,
    }

    async with headrace(store, **options) as service:
        await service.send_all({"n": n} for n in range(100))
        await service.advance(60.0)
        calls_while_away = DATABASE.calls
        letters_while_away = len(service.dead_letters())
        DATABASE.away = False
        await service.settle()

        assert calls_while_away <= 12
        assert letters_while_away <= 4
        assert len(service.outputs()) == 100 - letters_while_away
