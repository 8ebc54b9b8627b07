"""Closing one of the client's objects, whatever state it is in."""

import asyncio
from collections.abc import Awaitable
from typing import Any


async def quietly(step: Awaitable[Any], timeout_s: float) -> None:
    """Run one closing step; its failure is noise, our own cancellation is not.

    Closing can raise ``CancelledError`` although nobody cancelled us, because the client awaits
    tasks that it has cancelled.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        async with asyncio.timeout(timeout_s):
            await step
    except asyncio.CancelledError:
        if task is not None and task.cancelling() > before:
            raise
    except Exception:  # noqa: BLE001 -- whatever it is, the client is thrown away
        return
