"""The W3C trace context as it travels in record headers.

Only bytes and flags: most records carry none or are not sampled, and for those nothing but a
look at one character is paid.  Format: https://www.w3.org/TR/trace-context-2/, version 00.
"""

import re

from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from service.events import TRACEPARENT_MAX_BYTES, Headers

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
ODD_DIGITS = frozenset((b"1", b"3", b"5", b"7", b"9", b"b", b"d", b"f"))
"""Last digits of the flags of a sampled context."""

_TRACESTATE_MAX_BYTES = 512


def find(headers: Headers) -> bytes | None:
    """The first ``traceparent`` of ``headers``, whatever it holds, unless it is far too long."""
    for name, value in headers:
        if name == TRACEPARENT:
            return value if value and len(value) <= TRACEPARENT_MAX_BYTES else None
    return None


def parse(headers: Headers) -> SpanContext | None:
    """The remote context of ``headers``; ``None`` if there is none or it is malformed."""
    value = find(headers)
    match = None if value is None else _FORM.fullmatch(value)
    if match is None or match[1] == b"ff" or (match[1] == b"00" and match[5] is not None):
        return None
    context = SpanContext(
        trace_id=int(match[2], 16),
        span_id=int(match[3], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(match[4], 16)),
        trace_state=_trace_state(headers),
    )
    return context if context.is_valid else None


def render(context: SpanContext) -> bytes:
    """``context`` as a header's value."""
    return b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, context.trace_flags & 0xFF)


def _trace_state(headers: Headers) -> TraceState:
    values = [value.decode("latin-1") for name, value in headers if name == TRACESTATE and value]
    if not values or sum(map(len, values)) > _TRACESTATE_MAX_BYTES:
        return TraceState()
    return TraceState.from_header(values)
