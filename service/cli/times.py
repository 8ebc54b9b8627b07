"""Moments as people give them on a command line."""

from datetime import UTC, datetime
from typing import Final

from service.cli.usage import UsageError
from service.clock import LATEST_MS, wall_clock_ms

EARLIEST_MS: Final = 100_000_000_000
"""Below it (3 March 1973), a number is one of seconds that somebody took for milliseconds."""


def parse_time(text: str) -> int:
    """Milliseconds since the Unix epoch: of ISO 8601 (UTC unless it says), a number, or ``now``.

    Raises:
        UsageError: If ``text`` is none of them, or a number of seconds.
    """
    if text == "now":
        return wall_clock_ms()
    if text.isascii() and text.isdecimal() and len(text) <= len(str(LATEST_MS)):
        if 0 < int(text) < EARLIEST_MS:
            raise UsageError(
                f"{text} looks like seconds: write milliseconds since 1970 (three more digits)"
            )
        return min(int(text), LATEST_MS)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no time: write 2026-01-31T12:00:00Z, milliseconds since 1970, or now"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, int(moment.timestamp() * 1000))  # below 0 are words of Kafka's, such as "latest"
