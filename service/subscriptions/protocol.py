"""The messages of ``headrace.v1``: what clients may say, and how answers are written.

Parsing is total: any text gives a request or a :class:`RequestError`.  Knows no sockets.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import orjson

from service.errors import ServiceError
from service.peer import text_frame
from service.subscriptions.encoding import EncodedEvent
from service.subscriptions.positions import (
    MAX_OFFSET,
    FromEarliest,
    FromLatest,
    FromOffsets,
    FromTimestamp,
    Start,
)
from service.where import Predicate, compile_where

MAX_ID_BYTES = 128
"""Longest subscription id, as JSON: it is repeated in every frame."""

MAX_WHERE_BYTES = 4096
"""Longest filter, as JSON: it runs for every event of the topic."""

MAX_PARTITIONS = 10_000
"""Most partitions in a position."""


class RequestError(ServiceError):
    """A message that cannot be served.

    Args:
        code: For programs, one of those in ``docs/websocket.md``.
        message: For people, without payload data.
        id_json: The request's id as JSON; ``null`` when it has none.
    """

    def __init__(self, code: str, message: str, *, id_json: bytes = b"null") -> None:
        super().__init__(message)
        self.code = code
        self.id_json = id_json

    def frame(self) -> bytes:
        """This error as a frame."""
        return error_frame(self.id_json, self.code, str(self), retryable=False)


class Overflow(StrEnum):
    """What happens to a client that cannot keep up."""

    DROP_OLDEST = "drop_oldest"
    CONFLATE = "conflate"
    DISCONNECT = "disconnect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """A wish to watch ``topic``.

    Attributes:
        id_json: The client's own name for it, as JSON.
        topic: Not yet checked against anything.
        start: Where to begin.
        where: The filter, compiled; ``None`` passes everything.
        where_json: The filter in canonical form; equal filters have equal bytes.
        overflow: ``None`` when the client leaves it to the server.
    """

    id_json: bytes
    topic: str
    start: Start
    where: Predicate | None
    where_json: bytes
    overflow: Overflow | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """The end of the subscription ``id_json``."""

    id_json: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """A sign of life, for clients that cannot send ping frames."""

    id_json: bytes | None


Request: TypeAlias = Subscribe | Unsubscribe | Ping


def parse_request(message: str | bytes) -> Request:
    """Read one message of a client.

    Raises:
        RequestError: If it is none; ``code`` is ``bad_message`` when it is not even an object
            with a known ``type``, which costs the connection, else ``bad_request``.
    """
    try:
        request = orjson.loads(message)
    except orjson.JSONDecodeError:
        raise RequestError("bad_message", "not JSON") from None
    if not isinstance(request, dict):
        raise RequestError("bad_message", "not a JSON object")
    kind = request.get("type")
    if kind == "ping":
        return Ping(id_json=_id(request["id"]) if "id" in request else None)
    if kind == "unsubscribe":
        return Unsubscribe(id_json=_id(request.get("id")))
    if kind == "subscribe":
        id_json = _id(request.get("id"))
        try:
            return _subscribe(request, id_json)
        except ValueError as error:
            raise RequestError("bad_request", str(error), id_json=id_json) from None
    raise RequestError("bad_message", "type: should be subscribe, unsubscribe or ping")


def subscribed_frame(id_json: bytes, positions: Mapping[int, int]) -> bytes:
    """The subscription begins at ``positions``."""
    return text_frame(
        b'{"type":"subscribed","id":%b,"positions":%b}' % (id_json, _positions(positions))
    )


def unsubscribed_frame(id_json: bytes) -> bytes:
    """Nothing more comes for this id."""
    return text_frame(b'{"type":"unsubscribed","id":%b}' % id_json)


def pong_frame(id_json: bytes | None) -> bytes:
    """The answer to a ping."""
    if id_json is None:
        return text_frame(b'{"type":"pong"}')
    return text_frame(b'{"type":"pong","id":%b}' % id_json)


def events_frame(id_json: bytes, body: bytes) -> bytes:
    """Events for one subscription; ``body`` is shared by all that get the same events."""
    return text_frame(b'{"type":"events","id":%b,%b' % (id_json, body))


def events_body(events: Iterable[EncodedEvent], following: Mapping[int, int]) -> bytes:
    """What follows the id in an events frame."""
    return b'"events":[%b],"next":%b}' % (
        b",".join([event.json for event in events]),
        _positions(following),
    )


def gap_frame(id_json: bytes, dropped: int, following: Mapping[int, int]) -> bytes:
    """``dropped`` events that this client will not get; the next ones come from ``following``."""
    return text_frame(
        b'{"type":"gap","id":%b,"dropped":%d,"next":%b}' % (id_json, dropped, _positions(following))
    )


def error_frame(id_json: bytes, code: str, message: str, *, retryable: bool) -> bytes:
    """Something did not work."""
    fields = orjson.dumps({"code": code, "message": message, "retryable": retryable})
    return text_frame(b'{"type":"error","id":%b,%b' % (id_json, fields[1:]))


def _positions(positions: Mapping[int, int]) -> bytes:
    return orjson.dumps(positions, option=orjson.OPT_NON_STR_KEYS)


def _id(value: Any) -> bytes:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise RequestError("bad_request", "id: should be a string or an integer")
    id_json = orjson.dumps(value)
    if len(id_json) > MAX_ID_BYTES:
        raise RequestError("bad_request", f"id: longer than {MAX_ID_BYTES} bytes")
    return id_json


def _subscribe(request: dict[str, Any], id_json: bytes) -> Subscribe:
    unknown = request.keys() - {"type", "id", "topic", "from", "where", "overflow"}
    if unknown:
        raise ValueError(f"unknown fields: {', '.join(sorted(unknown))[:200]}")
    topic = request.get("topic")
    if not isinstance(topic, str) or not topic:
        raise ValueError("topic: should be a topic's name")
    overflow = request.get("overflow")
    if overflow is not None and overflow not in list(Overflow):
        raise ValueError(f"overflow: should be one of {', '.join(Overflow)}")
    where = request.get("where")
    try:
        where_json = orjson.dumps(where, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # it reads deeper nesting than it writes
        raise ValueError("where: is nested too deep") from None
    if len(where_json) > MAX_WHERE_BYTES:
        raise ValueError(f"where: longer than {MAX_WHERE_BYTES} bytes")
    return Subscribe(
        id_json=id_json,
        topic=topic,
        start=_start(request.get("from", "latest")),
        where=None if where is None else compile_where(where),
        where_json=where_json,
        overflow=None if overflow is None else Overflow(overflow),
    )


def _start(value: Any) -> Start:
    if value == "latest":
        return FromLatest()
    if value == "earliest":
        return FromEarliest()
    if isinstance(value, dict) and value.keys() == {"timestamp"}:
        return FromTimestamp(_number("from.timestamp", value["timestamp"]))
    if isinstance(value, dict) and value.keys() == {"offsets"}:
        return FromOffsets(_offsets(value["offsets"]))
    raise ValueError("from: should be latest, earliest, {timestamp: ms} or {offsets: {...}}")


def _offsets(value: Any) -> dict[int, int]:
    if not isinstance(value, dict) or not 0 < len(value) <= MAX_PARTITIONS:
        raise ValueError("from.offsets: should map partitions to offsets")
    offsets: dict[int, int] = {}
    for partition, offset in value.items():
        if not (partition.isascii() and partition.isdigit() and len(partition) < 10):  # noqa: PLR2004 -- Kafka numbers partitions with 31 bits
            raise ValueError("from.offsets: a key is no partition number")
        offsets[int(partition)] = _number("from.offsets", offset)
    return offsets


def _number(path: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_OFFSET:
        raise ValueError(f"{path}: should be an integer from 0 to {MAX_OFFSET}")
    return value
