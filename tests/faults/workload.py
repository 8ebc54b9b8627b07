"""What goes in, and what has to come of it: a function of the seed and the record's number.

Nothing of the service is used.  The number of a record decides its key, its fate and its bytes,
so the judge knows what must have become of every record without asking anybody.
"""

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson


class Fate(Enum):
    """What has to become of an input record."""

    ALERT = "alert"
    SILENT = "silent"
    DECODE = "decode"
    SCHEMA = "schema"
    HANDLER = "handler"

    @property
    def dead(self) -> bool:
        """Whether it ends in the dead-letter topic; its value is then the error code."""
        return self not in {Fate.ALERT, Fate.SILENT}


_SHARES = (
    (0.02, Fate.DECODE),
    (0.04, Fate.SCHEMA),
    (0.06, Fate.HANDLER),
    (0.36, Fate.SILENT),
    (1.00, Fate.ALERT),
)
FLAKY_SHARE = 0.01
"""Share of the alerts whose first attempt fails for a while."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Records numbered from 0.

    Args:
        seed: Another seed gives other keys and fates.
        keys: Number of different keys.
    """

    seed: int = 1
    keys: int = 200

    def fate(self, number: int) -> Fate:
        """What has to become of record ``number``."""
        draw = self._draw(number, b"fate")
        return next(fate for share, fate in _SHARES if draw < share)

    def key(self, number: int) -> bytes:
        """Its key."""
        return b"key-%d" % int(self._draw(number, b"key") * self.keys)

    def value(self, number: int) -> bytes:
        """Its bytes."""
        match self.fate(number):
            case Fate.DECODE:
                return b'{"level": "ERROR", "message": "%d"' % number
            case Fate.SCHEMA:
                return b'{"level": 7, "message": "%d"}' % number
            case Fate.SILENT:
                return b'{"level": "INFO", "message": "%d"}' % number
            case Fate.HANDLER:
                return b'{"level": "ERROR", "message": "%d", "refuse": true}' % number
            case Fate.ALERT:
                flaky = self._draw(number, b"flaky") < FLAKY_SHARE
                extra = b', "flaky": true' if flaky else b""
                return b'{"level": "ERROR", "message": "%d"%b}' % (number, extra)

    def alert(self, number: int) -> dict[str, Any]:
        """The fields that its alert must have, for a number whose fate that is."""
        return {
            "level": "ERROR",
            "message": str(number),
            "alert": f"[ALERT - ERROR] {number}",
        }

    def _draw(self, number: int, what: bytes) -> float:
        digest = hashlib.blake2b(b"%d/%d/%b" % (self.seed, number, what), digest_size=8)
        return int.from_bytes(digest.digest(), "big") / 2**64


def number_of(value: bytes | None) -> int | None:
    """Which record a value of ours belongs to, however broken; ``None`` if it is not ours."""
    if value is None:
        return None
    try:
        message = orjson.loads(value)["message"]
        return int(message)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        _, found, rest = value.partition(b'"message": "')
        digits = rest.partition(b'"')[0]
        return int(digits) if found and digits.isdigit() else None
