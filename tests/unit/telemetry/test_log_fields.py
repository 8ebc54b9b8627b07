from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from service.telemetry.log_fields import (
    STACK_MAX_CHARS,
    VALUE_MAX_BYTES,
    add_trace_ids,
    bound_values,
    bounded,
)

_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3000),
    st.binary(max_size=3000),
    st.lists(st.text()),
    st.dictionaries(st.text(), st.integers()),
)


@given(_VALUES)
def test_any_value_becomes_short_harmless_json(value: Any) -> None:
    encoded = orjson.dumps(bounded(value))

    assert len(encoded) <= 2 * VALUE_MAX_BYTES  # quotes and backslashes double at worst
    assert all(byte >= 0x20 for byte in encoded)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two\nlines", "two\\u000alines"),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("\x9b31mred", "\\u009b31mred"),
        (b"\xff\x00", "\\xff\\u0000"),
        ("\udcff", "\\udcff"),
        (2**70, str(2**70)),
        (7, 7),
        (None, None),
        (True, True),
        (("a\n", 1), ["a\\u000a", 1]),
        (range(0), "range(0, 0)"),
    ],
    ids=[
        "newline",
        "escape sequence",
        "8-bit escape sequence",
        "bytes",
        "lone surrogate",
        "huge number",
        "number",
        "nothing",
        "truth",
        "short list",
        "anything else",
    ],
)
def test_a_value_is_shown_as(value: Any, shown: Any) -> None:
    assert bounded(value) == shown


def test_a_long_value_is_cut_at_a_kilobyte_of_utf8() -> None:
    cut = bounded("é" * 5000)

    assert len(cut.encode()) <= VALUE_MAX_BYTES
    assert cut.endswith("é…")


def test_a_long_list_becomes_text_that_tells_its_length() -> None:
    assert bounded(["x"] * 33).startswith("33 items: ['x', ")
    assert len(bounded(["x" * 100] * 20).encode()) <= VALUE_MAX_BYTES


def test_a_traceback_keeps_its_newest_frames_and_its_lines() -> None:
    entry = bound_values(None, "", {"exception": "old\n" * 10_000 + "ZeroDivisionError"})

    assert len(entry["exception"]) <= STACK_MAX_CHARS
    assert entry["exception"].endswith("old\nZeroDivisionError")


def test_an_entry_inside_a_span_carries_its_identifiers() -> None:
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1)))

    with trace.use_span(span):
        entry = add_trace_ids(None, "", {})

    assert entry == {"trace_id": f"{0xABC:032x}", "span_id": f"{0xDEF:016x}"}


def test_an_entry_outside_of_spans_carries_none() -> None:
    assert add_trace_ids(None, "", {}) == {}


class _Detached:
    def __repr__(self) -> str:
        raise LookupError("the session is closed")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(_Detached(), "<_Detached without text: LookupError>", id="object"),
        pytest.param({"a": _Detached()}, "<dict without text: LookupError>", id="map"),
        pytest.param([_Detached()], ["<_Detached without text: LookupError>"], id="list"),
    ],
)
def test_a_value_that_cannot_be_shown_fails_nobody(value: object, shown: object) -> None:
    assert bounded(value) == shown
