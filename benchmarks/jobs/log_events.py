"""The 250-byte JSON log events of several jobs, and the alerts they must become."""

from collections.abc import Mapping
from typing import Any

import orjson

from benchmarks.harness.model import Output

_LEVELS = ("INFO", "DEBUG", "WARN", "INFO", "INFO", "ERROR", "DEBUG", "INFO", "WARN", "INFO")
_FILLER = "the upstream answered late, " * 6
_SIZE_BYTES = 250
KEYS = 10_000
CALL_S = 0.01
"""How long the call of the I/O job takes."""

ROUTES = {"INFO": "info", "DEBUG": "info", "WARN": "warn", "ERROR": "error"}
"""Logical topic of each level in the fan-out job."""


def log_value(number: int) -> bytes:
    """The event `number`: exactly 250 bytes, WARN or ERROR in 3 of 10."""
    level = _LEVELS[number % 10]
    head = (
        f'{{"timestamp":"2026-01-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:'
        f'{number % 60:02}.000Z","level":"{level}","service":"checkout-{number % 20:02}",'
        f'"message":"request {number:08d} '
    )
    return (head + _FILLER[: _SIZE_BYTES - len(head) - 2] + '"}').encode()


def log_key(number: int) -> bytes:
    """One of 10,000 keys; each comes in a fixed order of events."""
    return b"user-%05d" % (number * 7919 % KEYS)


def alert_of(event: Mapping[str, Any]) -> bytes:
    """The alert of a WARN or ERROR event, in canonical form."""
    level, message = event["level"], event["message"]
    alert = {
        "level": level,
        "message": message,
        "alert": f"[ALERT - {level}] {message}",
        "timestamp": event["timestamp"],
        "service": event["service"],
    }
    return orjson.dumps(alert, option=orjson.OPT_SORT_KEYS)


def alerts(number: int, key: bytes | None = None) -> tuple[Output, ...]:
    """What the event `number` must lead to."""
    if _LEVELS[number % 10] not in {"WARN", "ERROR"}:
        return ()
    return (Output("out", key, alert_of(orjson.loads(log_value(number)))),)


def is_audited(message: str) -> bool:
    """Whether the fan-out job audits the event: every tenth number, told from the message."""
    return message[15] == "0"


def canonical_alert(value: bytes) -> bytes:
    """An alert in one spelling, whatever the order of its fields."""
    return orjson.dumps(orjson.loads(value), option=orjson.OPT_SORT_KEYS)


def sequence_of_alert(canonical: bytes) -> int:
    """The event's number, from its message."""
    return int(orjson.loads(canonical)["message"].split()[1])
