"""From an incoming WebSocket message to records, without touching the bytes of an event.

A message is one event, an array of them, or envelopes ``{"id": ..., "event": ...}`` that ask for
an answer and may carry a trace context.  Events are cut out as they were sent, never decoded and
encoded again: what they mean is the normalizer's business, and a number may not lose digits here.
Pure and total.
"""

from typing import Any, NamedTuple

import msgspec
import orjson

from service.events import TRACEPARENT_MAX_BYTES, Headers

MAX_EVENTS = 10_000
"""Most events in one message."""

MAX_ID_BYTES = 256
"""Longest id: it is kept until the event is durable."""


_CONTEXT_MAX_BYTES = {"traceparent": TRACEPARENT_MAX_BYTES, "tracestate": 512}


class Submission(NamedTuple):
    """One event of a message.

    Attributes:
        value: The event's own bytes.
        id_json: The id to answer under, as JSON; ``None`` asks for no answer.
        headers: The trace context that its envelope carried, as Kafka's headers have it.
    """

    value: bytes
    id_json: bytes | None
    headers: Headers = ()


class BadFrameError(ValueError):
    """A message that is not taken at all; ``str()`` is for its sender."""


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    id: msgspec.Raw
    event: msgspec.Raw
    traceparent: str | None = None
    tracestate: str | None = None


CANNOT_CUT = (msgspec.MsgspecError, RecursionError)
"""What the cutter raises for what it cannot follow; nesting of some 900 is such a thing.  Nothing
is lost by taking it for one event: no normalizer decodes a value that deep."""

_envelopes = msgspec.json.Decoder(list[_Envelope])
_envelope = msgspec.json.Decoder(_Envelope)
_items = msgspec.json.Decoder(list[msgspec.Raw])


def split(message: bytes) -> list[Submission]:
    """The events of one message.

    What is no JSON at all is one event too: a log line, or something for the dead-letter topic.

    Raises:
        BadFrameError: If there are too many events, or an id is too long.
    """
    start = message.lstrip(b" \t\r\n")[:1]
    if start in {b"[", b"{"} and not _is_text(message):
        return [Submission(message, None)]
    if start == b"[":
        return _split_array(message)
    if start == b"{":
        return [_split_one(message)]
    return [Submission(message, None)]


def _is_text(message: bytes) -> bool:
    try:
        message.decode()
    except UnicodeDecodeError:
        return False
    return True


def _split_array(message: bytes) -> list[Submission]:
    try:
        submissions = [_from_envelope(envelope) for envelope in _envelopes.decode(message)]
    except CANNOT_CUT:
        try:
            items = _items.decode(message)
        except CANNOT_CUT:
            return [Submission(message, None)]
        submissions = [_split_one(bytes(item)) for item in items]
    if len(submissions) > MAX_EVENTS:
        raise BadFrameError(f"more than {MAX_EVENTS} events in one message")
    return submissions


def _split_one(raw: bytes) -> Submission:
    try:
        envelope = _envelope.decode(raw)
    except CANNOT_CUT:
        return Submission(raw, None)
    return _from_envelope(envelope)


def _from_envelope(envelope: _Envelope) -> Submission:
    id_json = bytes(envelope.id)
    if len(id_json) > MAX_ID_BYTES:
        raise BadFrameError(f"an id is longer than {MAX_ID_BYTES} bytes")
    try:
        orjson.loads(id_json)  # it is sent back; the cutter skips over values without a full check
    except orjson.JSONDecodeError:
        raise BadFrameError("an id is not JSON") from None
    return Submission(bytes(envelope.event), id_json, _trace_context(envelope))


def _trace_context(envelope: _Envelope) -> Headers:
    """What belongs to a trace; far too long ones are left out, as those of Kafka's records are."""
    if envelope.traceparent is None:
        return ()
    return [
        (name, value)
        for name, text in (
            ("traceparent", envelope.traceparent),
            ("tracestate", envelope.tracestate or ""),
        )
        if 0 < len(value := text.encode(errors="replace")) <= _CONTEXT_MAX_BYTES[name]
    ]


def field_text(value: bytes | None, path: str) -> str | None:
    """The field at a dotted ``path`` as text; ``None`` where there is none that can be written."""
    try:
        found: Any = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if found is None or isinstance(found, str):
        return found
    try:
        return orjson.dumps(found).decode()
    except orjson.JSONEncodeError:  # it reads deeper nesting than it writes
        return None
