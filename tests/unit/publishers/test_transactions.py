import asyncio
from collections.abc import Callable
from typing import Any

from service import Event, Result, handler
from service.publishers.base import ProduceUnknownError
from service.testing.broker_transactions import MemoryTransactions
from service.testing.harness import OUTPUT, Harness, pipeline_of

Headrace = Callable[..., Harness]


@handler("transactions.copy")
def copy(event: Event) -> dict[str, Any]:
    return {"n": event.data["n"]}


@handler("transactions.slow_copy")
async def slow_copy(event: Event) -> list[Result]:
    await asyncio.sleep(0.5)
    return [Result({"slow": event.data["n"]}), Result({"second": event.data["n"]})]


def _exactly_once(**handlers: Any) -> dict[str, Any]:
    config = pipeline_of(copy)
    config["pipelines"]["test"]["delivery"] = "exactly_once"
    config["pipelines"]["test"]["handlers"] = {
        name: {"use": use, "output": OUTPUT} for name, use in handlers.items()
    }
    return config


async def _send_many(service: Harness, count: int) -> None:
    for number in range(count):
        await service.send({"n": number}, key=f"k{number % 3}")


async def test_results_and_positions_appear_together(headrace: Headrace) -> None:
    async with headrace(_exactly_once(copy="transactions.copy")) as service:
        await _send_many(service, 9)
        await service.settle()

        assert sorted(output["n"] for output in service.outputs()) == list(range(9))
        assert sum(service.committed().values()) == 9


async def test_a_failed_commit_starts_over_and_shows_nothing_twice(headrace: Headrace) -> None:
    async with headrace(_exactly_once(copy="transactions.copy")) as service:
        await _send_many(service, 3)
        await service.settle()
        failing = [p for p in service.brokers.producers if isinstance(p, MemoryTransactions)]
        for producer in failing:
            _fail_next_commit(producer)
        await _send_many(service, 6)
        await service.settle()

        assert len(service.outputs()) == 9
        ids = [record.header("headrace-id") for record in service.records()]
        assert len(set(ids)) == 9


async def test_a_record_of_two_handlers_is_published_in_one_piece(headrace: Headrace) -> None:
    async with headrace(
        _exactly_once(fast="transactions.copy", slow="transactions.slow_copy")
    ) as service:
        await _send_many(service, 4)
        await service.settle()

        assert len(service.outputs()) == 12
        assert sum(service.committed().values()) == 4


def _fail_next_commit(producer: MemoryTransactions) -> None:
    async def commit() -> None:
        raise ProduceUnknownError("no answer")

    producer.commit = commit  # type: ignore[method-assign]  # this client is thrown away after it
