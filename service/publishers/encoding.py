"""What a result's value, headers and trace become in Kafka.  Pure."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from service.clock import wall_clock_ms
from service.delivery.delays import Delayed
from service.errors import PermanentError
from service.events import TRACEPARENT_MAX_BYTES, Headers, Result, SameKey
from service.publishers.base import Row, TopicInfo
from service.state.keyed import all_finite

CONTENT_TYPE: Final = ("content-type", b"application/json")
BINARY_CONTENT_TYPE: Final = ("content-type", b"application/octet-stream")
TRACE_HEADER: Final = "traceparent"
OUR_HEADERS_BYTES: Final = 512
"""Room for our own headers; ids are bounded by the lengths of names."""


class Output(NamedTuple):
    """A result with its address, encoded."""

    topic: str
    key: bytes | None
    value: bytes | None
    result: Result


def encode(value: Any) -> bytes:
    """A result's value as bytes: JSON, unless it is bytes already; of models in it too.

    Raises:
        PermanentError: If it has no JSON, or a number that is not finite.
    """
    if isinstance(value, bytes):
        return value
    try:
        encoded = orjson.dumps(value, default=_plain)
    except TypeError as exc:
        raise PermanentError(f"the result is no JSON: {exc}") from exc
    # orjson writes NaN and infinities as null without a word
    if b"null" in encoded and not all_finite(value):
        raise PermanentError("the result holds a number that is not finite (NaN or Infinity)")
    return encoded


def _plain(value: Any) -> Any:
    """A pydantic model or a msgspec struct as what JSON has.

    Raises:
        TypeError: If it is none of them, or holds a number that is not finite.
    """
    dump: Any = getattr(value, "model_dump", None)
    if dump is not None:
        made = dump(mode="json")
    elif isinstance(value, msgspec.Struct):
        made = msgspec.to_builtins(value)
    else:
        raise TypeError
    if not all_finite(made):
        raise TypeError  # it would be null
    return made


def check_acceptable(
    topic: str, info: TopicInfo, key: bytes | None, timestamp_ms: int | None
) -> None:
    """Refuse what ``topic`` takes from nobody: it would refuse the whole batch along with it.

    Args:
        topic: Where the record goes.
        info: What it takes.
        key: The record's.
        timestamp_ms: The record's, if it is not to be stamped when it is sent.

    Raises:
        PermanentError: If it is not taken.
    """
    if key is None and info.needs_key:
        raise PermanentError(f"topic {topic} is compacted and takes nothing without a key")
    if timestamp_ms is not None:
        ahead_ms = timestamp_ms - wall_clock_ms()
        if not -info.behind_max_ms <= ahead_ms <= info.ahead_max_ms:
            way = "ahead of" if ahead_ms > 0 else "behind"
            raise PermanentError(f"topic {topic} takes no time {abs(ahead_ms)} ms {way} ours")


def key_of(result: Result, own: bytes | None) -> bytes | None:
    """The key of a result as bytes; ``own`` is its event's."""
    key = result.key
    if isinstance(key, SameKey):
        return own
    return key.encode() if isinstance(key, str) else key


def in_time(rows: Sequence[Row], info: TopicInfo, now_ms: int) -> Sequence[Row]:
    """``rows`` for another try: those whose time their topic does not take are stamped anew.

    The clock was wrong when they were stamped, or checked, and has been put right since; with the
    times that they have they would be refused until the clock has caught up with them.
    """
    first_ms, last_ms = now_ms - info.behind_max_ms, now_ms + info.ahead_max_ms
    if all(row[0] is None or first_ms <= row[0] <= last_ms for row in rows):
        return rows
    return [
        row if row[0] is None or first_ms <= row[0] <= last_ms else (now_ms, *row[1:])
        for row in rows
    ]


def headers_of(result: Result) -> Headers:
    """Headers of a result beside ours, as Kafka has them."""
    if isinstance(result, Delayed):
        return result.pairs
    if not result.headers:
        return ()
    return [
        (name, content.encode() if isinstance(content, str) else content)
        for name, content in result.headers.items()
    ]


def carried(result: Delayed, parent: bytes | None) -> list[tuple[str, bytes]]:
    """All headers of a record on its way to a delay topic; one without a trace joins ours."""
    if parent is None or passed_on(result.pairs) is not None:
        return result.pairs
    return [*result.pairs, (TRACE_HEADER, parent)]


def passed_on(headers: Headers) -> bytes | None:
    """The input's ``traceparent`` as it is: the output belongs to the same trace.

    A longer one is left out: it could make an output too large for any topic.
    """
    for name, content in headers:
        if name == TRACE_HEADER:
            return content if content and len(content) <= TRACEPARENT_MAX_BYTES else None
    return None
