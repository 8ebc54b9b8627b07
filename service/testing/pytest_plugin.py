"""Fixtures that an installed ``headrace`` adds to the user's own pytest runs.

Registered as a ``pytest11`` entry point, so every import here is paid for by every run: keep
them inside the fixtures.
"""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest


@pytest.fixture
def run_in_virtual_time() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """A function that runs a coroutine to its end with a clock that jumps instead of waiting."""
    from service.testing.virtual_time import run  # noqa: PLC0415 -- see the module docstring

    return run
