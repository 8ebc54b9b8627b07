"""From an incoming WebSocket message to records, without touching the bytes of an event.

A message is one event, an array of them, or envelopes ``{"id": ..., "event": ...}`` that ask for
an answer and may carry a trace context.  Events are cut out as they were sent, never decoded and
encoded again: what they mean is the normalizer's business, and a number may not lose digits here.
Pure and total.
"""

import re
from typing import Any, Final, NamedTuple

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

ROUGH_BYTES: Final = 256 * 1024
"""Longest message whose envelopes are looked for though it is no JSON, which takes far longer."""

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|["\[\]{},]', re.DOTALL)
_FIELD: Final = re.compile(rb'\s*"(id|event|traceparent|tracestate)"\s*:\s*(.*?)\s*', re.DOTALL)

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
            submissions = _split_roughly(message)
        else:
            submissions = [_split_one(bytes(item)) for item in items]
    if len(submissions) > MAX_EVENTS:
        raise BadFrameError(f"more than {MAX_EVENTS} events in one message")
    return submissions


def _split_one(raw: bytes) -> Submission:
    try:
        envelope = _envelope.decode(raw)
    except msgspec.ValidationError:
        return Submission(raw, None)  # JSON, of something else
    except CANNOT_CUT:
        return _envelope_around(raw) or Submission(raw, None)
    return _from_envelope(envelope)


def _split_roughly(message: bytes) -> list[Submission]:
    """The envelopes of an array that is no JSON; what holds anything else is one event."""
    envelopes: list[Submission] = []
    for item in _parts(message):
        envelope = _envelope_around(item)
        if envelope is None:
            break
        envelopes.append(envelope)
    else:
        if envelopes:
            return envelopes
    return [Submission(message, None)]


def _envelope_around(raw: bytes) -> Submission | None:
    """The envelope around an event that is no JSON; ``None`` if there is none.

    Python writes ``NaN``, and JavaScript half a character.  Who sends that is waiting for an answer
    all the same, as are those whose events are in the same message.
    """
    parts = _parts(raw)
    fields = {m[1]: m[2] for part in parts if (m := _FIELD.fullmatch(part))}
    event = fields.pop(b"event", b"")
    if not event or len(fields) != len(parts) - 1:
        return None
    try:
        # the rest has to be what it is elsewhere
        rest = b",".join([b'"%b":%b' % field for field in fields.items()])
        envelope = _envelope.decode(b'{"event":0,%b}' % rest)
    except CANNOT_CUT:
        return None
    return _from_envelope(envelope)._replace(value=event)


def _parts(raw: bytes) -> list[bytes]:
    """What stands between the outermost brackets of ``raw``, cut at its commas.

    Empty where brackets or quotes have no end, or something follows the last one.
    """
    if len(raw) > ROUGH_BYTES:
        return []
    raw = raw.strip()
    parts: list[bytes] = []
    depth, start = 0, 1
    for token in _TOKEN.finditer(raw):
        match token[0]:
            case b"[" | b"{":
                depth += 1
            case b"]" | b"}":
                depth -= 1
                if not depth:
                    parts.append(raw[start : token.start()])
                    return parts if token.end() == len(raw) else []
            case b"," if depth == 1:
                parts.append(raw[start : token.start()])
                start = token.end()
            case b'"':
                return []
            case _:
                pass
    return []


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


def field_key(value: bytes, path: str | None) -> bytes | None:
    """The key of an event, from the field at a dotted ``path``; none without one."""
    key = None if path is None else field_text(value, path)
    return None if key is None else key.encode()


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
