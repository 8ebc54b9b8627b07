"""Moments as people give them on a command line."""

from datetime import UTC, datetime

from service.clock import wall_clock_ms
from service.errors import ConfigurationError


def parse_time(text: str) -> int:
    """Milliseconds since the Unix epoch: of ISO 8601 (UTC unless it says), a number, or ``now``.

    Raises:
        ConfigurationError: If ``text`` is none of them.
    """
    if text == "now":
        return wall_clock_ms()
    if text.isascii() and text.isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            [f"{text!r} is no time: write 2026-01-31T12:00:00Z, milliseconds since 1970, or now"]
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
