"""How a test of a channel lets other tasks get somewhere."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest


@pytest.fixture
def others_run() -> Callable[[], Awaitable[None]]:
    """Let every other task run until it waits; a wake-up here takes three turns at the most."""

    async def turns() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    return turns
