"""What every unit test gets.

A blocking call inside a coroutine of ours fails the test, and how one has set up logging is not
what the next one finds.
"""

from collections.abc import Iterator

import pytest
import structlog
from blockbuster import blockbuster_ctx


@pytest.fixture(autouse=True)
def _no_blocking_calls() -> Iterator[None]:
    with blockbuster_ctx("service"):
        yield


@pytest.fixture(autouse=True)
def _log_as_by_default() -> Iterator[None]:
    yield
    structlog.reset_defaults()
