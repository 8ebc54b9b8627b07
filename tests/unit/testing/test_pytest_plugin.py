import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

pytest_plugins = ["pytester"]


def test_the_fixture_runs_a_coroutine_in_virtual_time(
    run_in_virtual_time: Callable[[Coroutine[Any, Any, Any]], Any],
) -> None:
    async def nap() -> float:
        await asyncio.sleep(600)
        return asyncio.get_running_loop().time()

    assert run_in_virtual_time(nap()) == 600.0


def test_an_async_test_that_uses_headrace_runs_in_virtual_time_without_any_other_plugin(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import asyncio

        async def test_alerts(headrace):
            async with headrace("log_alerts") as service:
                await service.send({"level": "WARN", "message": "hot"})
                await service.settle()
                await service.advance(3600)
                assert service.outputs()[0]["alert"] == "[ALERT - WARN] hot"

        async def test_failing(headrace):
            assert headrace is None
        """
    )

    result = pytester.runpytest_inprocess("-p", "no:asyncio", "-p", "no:randomly")

    result.assert_outcomes(passed=1, failed=1)
