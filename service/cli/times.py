"""Moments as people give them on a command line."""

from datetime import UTC, datetime

from service.cli.usage import UsageError
from service.clock import wall_clock_ms

LAST_MS = 253_402_300_799_999
"""The end of year 9999, where ISO 8601 with four digits ends."""


def parse_time(text: str) -> int:
    """Milliseconds since the Unix epoch: of ISO 8601 (UTC unless it says), a number, or ``now``.

    Raises:
        UsageError: If ``text`` is none of them.
    """
    if text == "now":
        return wall_clock_ms()
    if text.isascii() and text.isdecimal() and len(text) <= len(str(LAST_MS)):
        return min(int(text), LAST_MS)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no time: write 2026-01-31T12:00:00Z, milliseconds since 1970, or now"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, int(moment.timestamp() * 1000))  # below 0 are words of Kafka's, such as "latest"
