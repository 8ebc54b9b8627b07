"""A record as dashboards see it, encoded once for all of them.

Knows JSON and records, nothing of topics, filters or clients.  Values that are no JSON are shown
as text, and bytes that are no text as ``{"base64": ...}``, so that every record can be shown.
"""

import base64
from typing import Any

import orjson

from service.events import Record
from service.telemetry.traceparent import TRACEPARENT, find

HEADER_PREFIX = "headrace-"
ERROR_HEADER = "headrace-error"
"""Marks a dead letter; only such records are shown with their (``headrace-``) headers."""

DEEPEST = 500
"""Deepest nesting of a value that is shown as stored.  Readers of JSON stop at some depth, orjson
at 1024 and Python's own below 1000, and the frame around the value counts too."""

_ORJSON_DEEPEST = 1024

OVERHEAD_BYTES = 200
"""About what the objects around one encoded event take; part of every bound in bytes."""


class EncodedEvent:
    """One event of the wire protocol, as JSON bytes, with what filters and queues need of it.

    Attributes:
        partition: Its partition.
        offset: Its offset there.
        key: Key bytes, or ``None``; what ``conflate`` keeps the latest of.
        json: The whole object, ``{"partition": ...}``.
        size_bytes: What it counts for in bounds.
    """

    __slots__ = ("json", "key", "offset", "partition", "size_bytes")

    def __init__(self, partition: int, offset: int, key: bytes | None, json: bytes) -> None:
        self.partition = partition
        self.offset = offset
        self.key = key
        self.json = json
        self.size_bytes = len(json) + OVERHEAD_BYTES

    def data(self) -> Any:
        """The value, decoded again; for filters that come later than the event."""
        return orjson.loads(self.json)["value"]

    def __repr__(self) -> str:
        return f"EncodedEvent({self.partition}/{self.offset})"


def encode(partition: int, record: Record) -> tuple[EncodedEvent, Any]:
    """Encode ``record``, and hand out its decoded value for the filters of right now."""
    value, data = _value(record.value)
    key = record.key
    fields = {
        "partition": partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": None if key is None else _text(key),
        "value": value,
    }
    names = [name for name, _ in record.headers]
    if TRACEPARENT in names and (context := find(record.headers)) is not None:
        fields["traceparent"] = context.decode(errors="backslashreplace")
    if ERROR_HEADER in names:
        fields["headers"] = {
            # a header's value may be null on the wire, whatever the type says
            name: (raw or b"").decode(errors="backslashreplace")
            for name, raw in record.headers
            if name.startswith(HEADER_PREFIX)
        }
    return EncodedEvent(partition, record.offset, key, orjson.dumps(fields)), data


def _value(value: bytes | None) -> tuple[Any, Any]:
    if value is None:
        return None, None
    try:
        data = orjson.loads(value)
    except orjson.JSONDecodeError:
        text = _text(value)
        return text, text
    if len(value) > 2 * DEEPEST and _nested_too_deep(value):
        text = _text(value)
        return text, text
    # The stored bytes go out as they are: decoding them again could lose digits of a number.
    return orjson.Fragment(value), data


def _nested_too_deep(value: bytes) -> bool:
    """Whether JSON goes deeper than :data:`DEEPEST`."""
    if value.count(b"[") + value.count(b"{") <= DEEPEST:
        return False
    around = _ORJSON_DEEPEST - DEEPEST
    try:
        orjson.loads(b"[" * around + value + b"]" * around)
    except orjson.JSONDecodeError:
        return True
    return False


def _text(raw: bytes) -> Any:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}
