import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


def test_the_fixture_runs_a_coroutine_in_virtual_time(
    run_in_virtual_time: Callable[[Coroutine[Any, Any, Any]], Any],
) -> None:
    async def nap() -> float:
        await asyncio.sleep(600)
        return asyncio.get_running_loop().time()

    assert run_in_virtual_time(nap()) == 600.0
