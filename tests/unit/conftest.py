"""What every unit test gets: a blocking call inside a coroutine of ours fails the test."""

from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx


@pytest.fixture(autouse=True)
def _no_blocking_calls() -> Iterator[None]:
    with blockbuster_ctx("service"):
        yield
