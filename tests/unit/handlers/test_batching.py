import asyncio
from typing import Any

import pytest

from service.errors import PermanentError, TransientError
from service.handlers.batching import Batcher


class _Recorder:
    """A batch function that doubles numbers, remembers its batches and fails on request."""

    def __init__(self, *, takes_s: float = 0.0) -> None:
        self.batches: list[list[Any]] = []
        self.poison: set[Any] = set()
        self.takes_s = takes_s

    async def __call__(self, items: list[Any]) -> list[Any]:
        self.batches.append(items)
        await asyncio.sleep(self.takes_s)
        if self.poison.intersection(items):
            raise PermanentError("poison")
        return [item * 2 for item in items]


async def _call_all(batcher: Batcher, items: list[Any]) -> list[Any]:
    return await asyncio.gather(*(batcher.call(item) for item in items), return_exceptions=True)


async def test_a_full_batch_goes_at_once_and_the_rest_after_the_linger() -> None:
    recorder = _Recorder()

    results = await _call_all(Batcher(recorder, size=3, linger_s=0.5), [1, 2, 3, 4])

    assert results == [2, 4, 6, 8]
    assert recorder.batches == [[1, 2, 3], [4]]
    assert asyncio.get_running_loop().time() == 0.5


async def test_a_batch_of_one_does_not_linger() -> None:
    results = await _call_all(Batcher(_Recorder(), size=1, linger_s=9.0), [1, 2])

    assert results == [2, 4]
    assert asyncio.get_running_loop().time() == 0.0


async def test_a_bad_item_fails_alone() -> None:
    recorder = _Recorder()
    recorder.poison = {5}

    results = await _call_all(Batcher(recorder, size=8, linger_s=0.1), list(range(8)))

    assert [result for result in results if not isinstance(result, PermanentError)] == [
        0,
        2,
        4,
        6,
        8,
        12,
        14,
    ]
    assert isinstance(results[5], PermanentError)


async def test_an_exception_among_the_results_fails_its_own_item() -> None:
    async def function(items: list[int]) -> list[Any]:
        return [ValueError("odd") if item % 2 else item for item in items]

    results = await _call_all(Batcher(function, size=2, linger_s=0.1), [1, 2])

    assert isinstance(results[0], ValueError)
    assert results[1] == 2


async def test_a_transient_error_fails_the_whole_batch_without_another_try() -> None:
    calls = 0

    async def function(items: list[int]) -> list[Any]:
        nonlocal calls
        calls += len(items) > 0
        raise TransientError("busy", retry_after_s=3)

    results = await _call_all(Batcher(function, size=4, linger_s=0.1), [1, 2, 3])

    assert [result.retry_after_s for result in results] == [3, 3, 3]
    assert calls == 1


async def test_a_wrong_number_of_results_is_a_permanent_error() -> None:
    async def function(items: list[int]) -> list[Any]:
        return items[:0]

    results = await _call_all(Batcher(function, size=2, linger_s=0.1), [1, 2])

    assert all(isinstance(result, PermanentError) for result in results)


@pytest.mark.parametrize("returned", [None, {"a": 1}, "a"], ids=["nothing", "mapping", "text"])
async def test_what_is_no_list_of_results_is_a_permanent_error(returned: Any) -> None:
    async def function(items: list[int]) -> Any:
        assert items
        return returned

    (result,) = await _call_all(Batcher(function, size=1, linger_s=0.1), [1])

    assert isinstance(result, PermanentError)
    assert "one result for each event" in str(result)


@pytest.mark.parametrize("cancel_at_s", [0.0, 0.3, 1.2], ids=["at once", "filling", "running"])
@pytest.mark.parametrize("cancelled", [0, 1, 2], ids=["leader", "follower", "last"])
async def test_a_cancelled_caller_does_not_take_the_others_with_it(
    cancelled: int, cancel_at_s: float
) -> None:
    batcher = Batcher(_Recorder(takes_s=1.0), size=10, linger_s=0.5)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(batcher.call(item)) for item in range(3)]
        await asyncio.sleep(cancel_at_s)
        tasks[cancelled].cancel()

    results = [None if task.cancelled() else task.result() for task in tasks]
    assert results == [None if item == cancelled else item * 2 for item in range(3)]


async def test_a_new_leader_that_is_cancelled_in_the_same_turn_passes_the_batch_on() -> None:
    batcher = Batcher(_Recorder(), size=10, linger_s=0.5)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(batcher.call(item)) for item in range(3)]
        await asyncio.sleep(0.1)
        tasks[0].cancel()
        tasks[1].cancel()
        await asyncio.sleep(0)  # the first one runs and appoints the second, already cancelled

    assert tasks[2].result() == 4


async def test_a_caller_that_is_cancelled_as_its_batch_fails_is_cancelled() -> None:
    async def fail(items: list[int]) -> list[int]:
        raise TransientError(f"{len(items)} at once are too many")

    async def call(item: int) -> None:
        with pytest.raises(TransientError):
            await batcher.call(item)
        if item == 1:
            tasks[2].cancel()  # which has failed too, and has not been told yet

    batcher = Batcher(fail, size=3, linger_s=0.5)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call(item)) for item in range(3)]

    assert [task.cancelled() for task in tasks] == [False, False, True]


async def test_when_everybody_leaves_the_next_caller_starts_anew() -> None:
    recorder = _Recorder()
    batcher = Batcher(recorder, size=10, linger_s=0.5)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(batcher.call(item)) for item in range(3)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()

    assert await batcher.call(7) == 14
    assert recorder.batches == [[7]]
