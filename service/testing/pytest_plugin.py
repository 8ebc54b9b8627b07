"""Fixtures that an installed ``headrace`` adds to the user's own pytest runs.

Registered as a ``pytest11`` entry point, so every import here is paid for by every run: keep
them inside the fixtures.
"""

import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from service.testing.harness import Harness


@pytest.fixture
def run_in_virtual_time() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """A function that runs a coroutine to its end with a clock that jumps instead of waiting."""
    from service.testing.virtual_time import run  # noqa: PLC0415 -- see the module docstring

    return run


@pytest.fixture
def headrace() -> "Callable[..., Harness]":
    """The service in memory, to be entered with ``async with``.

    ``async with headrace("log_alerts") as service:`` starts it; leaving the block drains it.
    Called with a handler (its name, its path, or the declared function) and what the
    configuration would say about it, or with a whole configuration as a mapping.
    """
    from service.testing.harness import Harness, pipeline_of  # noqa: PLC0415 -- as above

    def start(use: Any, *, broker: Any = None, partitions: int = 1, **handler: Any) -> Harness:
        config = use if isinstance(use, dict) else pipeline_of(use, **handler)
        return Harness(config, broker=broker, partitions=partitions)

    return start


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run async tests that use ``headrace`` in virtual time, where no other plugin runs them."""
    if "headrace" not in pyfuncitem.fixturenames or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    from service.testing.virtual_time import run  # noqa: PLC0415 -- as above

    names = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001 -- as pytest's own runner does
    run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
