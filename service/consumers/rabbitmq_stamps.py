"""Times of RabbitMQ's messages that are none: their messages are read without them.

A stamp has 64 bits and anybody may write it, in microseconds for one.  The client's decoder raises
at a year beyond 9999, which ends its connection; the broker then delivers the message again.
"""

from contextlib import suppress
from datetime import datetime

from pamqp import decode

_STAMP_BYTES = 8


def read_stamps_that_are_no_time() -> None:
    """Have the client's decoder take them for nothing, in properties and in headers."""
    decode.METHODS["timestamp"] = _stamp
    decode.TABLE_MAPPING[b"T"] = _stamp


def _stamp(value: bytes) -> tuple[int, datetime | None]:
    if len(value) >= _STAMP_BYTES:
        with suppress(ValueError, OverflowError, OSError):
            return decode.timestamp(value)
        return _STAMP_BYTES, None
    return decode.timestamp(value)  # says what is wrong with the frame
