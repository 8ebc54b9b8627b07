"""The handler of the fault runs: takes its time, fails where it should, says the same for ever."""

import asyncio
from typing import Any
from zlib import crc32

import structlog

from service.errors import PermanentError, TransientError
from service.events import Event

log = structlog.get_logger(__name__)

LONGEST_S = 0.02


async def alert(event: Event) -> dict[str, Any]:
    """An alert, after a while that depends on the record alone, so that records overtake."""
    data = event.data
    if data.get("refuse"):
        raise PermanentError("refused, as its fate is")
    if data.get("flaky") and event.attempts == 0:
        raise TransientError("the first attempt always fails")
    message: str = data["message"]
    await asyncio.sleep(LONGEST_S * (crc32(message.encode()) % 100) / 100)
    return {
        "level": data["level"],
        "message": message,
        "alert": f"[ALERT - {data['level']}] {message}",
        "timestamp": event.timestamp,
    }


async def sluggish(event: Event) -> dict[str, Any]:
    """The same, but one in a hundred takes longer than the drain at a revoke may."""
    if crc32(b"slow" + event.data["message"].encode()) % 100 == 0:
        await asyncio.sleep(8.0)
    return await alert(event)


async def chatty(event: Event) -> dict[str, Any]:
    """The same, and says so."""
    log.info("handling", message=event.data["message"])
    return await alert(event)
