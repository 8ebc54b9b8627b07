"""The work itself, the same for every peer: parse, check, and make the alert of a WARN or ERROR."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import orjson

LEVELS = frozenset(("WARN", "ERROR"))


class Arguments(NamedTuple):
    """``BOOTSTRAP SOURCE OUTPUT[,OUTPUT...] GROUP [EXTRA...]``."""

    bootstrap: str
    source: str
    outputs: list[str]
    group: str
    extra: list[str]

    @property
    def output(self) -> str:
        return self.outputs[0]


def arguments() -> Arguments:
    bootstrap, source, outputs, group, *extra = sys.argv[1:]
    return Arguments(bootstrap, source, outputs.split(","), group, extra)


async def until_sigterm(run: Callable[[Arguments], Awaitable[None]]) -> None:
    """Run it, with the arguments of the command line, until SIGTERM cancels it."""
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await run(arguments())


def alert_of(event: Any) -> dict[str, Any] | None:
    """The alert of a parsed event, None if it asks for none.

    Raises:
        ValueError: If the event is not a log event.
    """
    if not isinstance(event, dict):
        raise ValueError("not an object")  # noqa: TRY004
    level, message = event.get("level"), event.get("message")
    if not isinstance(level, str) or not isinstance(message, str):
        raise ValueError("level and message must be strings")  # noqa: TRY004
    if level not in LEVELS:
        return None
    return {
        "level": level,
        "message": message,
        "alert": f"[ALERT - {level}] {message}",
        "timestamp": event.get("timestamp"),
        "service": event.get("service"),
    }


def alert_bytes(value: bytes) -> bytes | None:
    """As `alert_of`, from and to JSON."""
    alert = alert_of(orjson.loads(value))
    return None if alert is None else orjson.dumps(alert)


def exit_on_sigterm() -> None:
    """Let SIGTERM end a program that has no handler of its own, with its ``finally`` blocks."""
    logging.basicConfig(level=logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
