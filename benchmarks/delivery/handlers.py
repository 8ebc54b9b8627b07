"""The handlers of these measurements."""

import asyncio
from typing import Any

from service import Event, PermanentError

CALL_S = 0.05


async def stalled(event: Event) -> None:
    """Never ends."""
    del event
    await asyncio.Event().wait()


async def call(event: Event) -> dict[str, Any]:
    """Fifty milliseconds of waiting for something else; poison is refused after them."""
    await asyncio.sleep(CALL_S)
    if event.data.get("poison"):
        raise PermanentError("poison")
    return {"n": event.data["n"]}


async def failing(event: Event) -> dict[str, Any]:
    """The same, but poison fails in a way that is tried again."""
    await asyncio.sleep(CALL_S)
    if event.data.get("poison"):
        raise ValueError("poison")
    return {"n": event.data["n"]}


def echo(event: Event) -> dict[str, Any]:
    """At once."""
    return {"n": event.data["n"]}
