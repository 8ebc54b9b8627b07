import asyncio
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["pytester"]

_AUTO = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
_PAGE = (Path(__file__).parents[3] / "docs" / "testing.md").read_text(encoding="utf-8")


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


def test_with_the_loop_of_the_page_on_testing_pytest_asyncio_runs_them_in_virtual_time(
    pytester: pytest.Pytester,
) -> None:
    (conftest,) = _blocks_with("pytest_asyncio_loop_factories")
    pytester.makeconftest(conftest)
    pytester.makepyfile(
        """
        import asyncio

        async def test_an_hour(headrace):
            async with headrace("log_alerts") as service:
                await service.advance(3600)
            assert 3600 <= asyncio.get_running_loop().time() < 3700
        """
    )

    result = pytester.runpytest_inprocess(*_AUTO, "-p", "no:randomly")

    result.assert_outcomes(passed=1)


def _blocks_with(word: str) -> list[str]:
    blocks = re.findall(r"^```python\n(.*?)^```", _PAGE, re.DOTALL | re.MULTILINE)
    return [block for block in blocks if word in block]
