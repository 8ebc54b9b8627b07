import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import SpanContext, TraceFlags

from service.telemetry.traceparent import ODD_DIGITS, find, parse, render

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_SPAN = "b7ad6b7169203331"
_GOOD = f"00-{_TRACE}-{_SPAN}-01".encode()


def test_a_context_is_read_from_the_first_header_of_its_name() -> None:
    headers = [("other", b"x"), ("traceparent", _GOOD), ("traceparent", b"second")]

    context = parse(headers)

    assert find(headers) == _GOOD
    assert context is not None
    assert (f"{context.trace_id:x}", f"{context.span_id:x}") == (_TRACE.lstrip("0"), _SPAN)
    assert context.trace_flags.sampled
    assert context.is_remote


def test_the_vendor_state_travels_along() -> None:
    context = parse([("traceparent", _GOOD), ("tracestate", b"acme=1,other=2")])

    assert context is not None
    assert context.trace_state.to_header() == "acme=1,other=2"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"01",
        _GOOD.upper(),
        b"ff" + _GOOD[2:],
        _GOOD + b"-more",
        _GOOD[:-1],
        f"00-{'0' * 32}-{_SPAN}-01".encode(),
        f"00-{_TRACE}-{'0' * 16}-01".encode(),
        _GOOD + b"\n",
    ],
    ids=[
        "empty",
        "short",
        "upper case",
        "forbidden version",
        "too much for version 00",
        "cut",
        "no trace",
        "no span",
        "newline",
    ],
)
def test_what_is_malformed_is_no_context(value: bytes) -> None:
    assert parse([("traceparent", value)]) is None


def test_a_later_version_may_say_more() -> None:
    assert parse([("traceparent", b"01" + _GOOD[2:] + b"-more")]) is not None


@given(st.binary(max_size=80))
def test_no_bytes_break_it(value: bytes) -> None:
    parse([("traceparent", value), ("tracestate", value)])


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))
def test_what_is_written_is_read_back(trace_id: int, span_id: int, flags: int) -> None:
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))

    written = render(context)

    assert parse([("traceparent", written)]) == context
    assert (written[54:55] in ODD_DIGITS) == bool(flags & 1)


def test_headers_without_a_value_are_no_context_and_no_state() -> None:
    assert parse([("traceparent", None)]) is None  # type: ignore[list-item]
    context = parse([("traceparent", _GOOD), ("tracestate", None)])  # type: ignore[list-item]

    assert context is not None
    assert not context.trace_state


def test_a_value_that_is_far_too_long_is_not_passed_on() -> None:
    assert find([("traceparent", b"0" * 257)]) is None
