"""Every record can be shown."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.events import SourceRecord
from service.subscriptions.encoding import encode


def shown(record: SourceRecord) -> dict[str, Any]:
    event, _ = encode(3, record)
    fields: dict[str, Any] = orjson.loads(event.json)
    return fields


@pytest.mark.parametrize(
    ("stored", "value"),
    [
        (b'{"n": 1}', {"n": 1}),
        (b"plain text", "plain text"),
        (b"\xff\x00", {"base64": "/wA="}),
        (None, None),
        (b"", ""),
        (b"[" * 1024 + b"]" * 1024, "[" * 1024 + "]" * 1024),
    ],
    ids=["json", "text", "bytes", "null", "empty", "deep"],
)
def test_values_are_shown_as_what_they_are(stored: bytes | None, value: object) -> None:
    record = SourceRecord(stored, key=b"k", offset=12, timestamp=34)

    assert shown(record) == {
        "partition": 3,
        "offset": 12,
        "timestamp": 34,
        "key": "k",
        "value": value,
    }


def test_numbers_keep_their_digits() -> None:
    event, _ = encode(0, SourceRecord(b'{"n":123456789012345678901234567890,"x":0.10}'))

    assert b'"value":{"n":123456789012345678901234567890,"x":0.10}' in event.json


def test_only_dead_letters_show_their_headers_and_only_ours() -> None:
    plain = SourceRecord(b"1", headers=[("headrace-id", b"x"), ("traceparent", b"y")])
    dead = SourceRecord(b"1", headers=[("headrace-error", b"decode"), ("secret", b"z")])

    assert "headers" not in shown(plain)
    assert shown(dead)["headers"] == {"headrace-error": "decode"}


@pytest.mark.parametrize(
    ("stored", "seen"),
    [(b"00-ab-cd-01", "00-ab-cd-01"), (b"x" * 257, None), (None, None), (b"\xff", "\\xff")],
    ids=["one", "far too long", "null", "not text"],
)
def test_a_trace_context_is_shown(stored: bytes | None, seen: str | None) -> None:
    headers: Any = [("content-type", b"x"), ("traceparent", stored)]
    record = SourceRecord(b"1", headers=headers)

    assert shown(record).get("traceparent") == seen


@given(st.none() | st.binary(max_size=60), st.none() | st.binary(max_size=20))
def test_any_record_is_json(value: bytes | None, key: bytes | None) -> None:
    event, data = encode(0, SourceRecord(value, key=key))

    assert event.data() == data or data != data  # noqa: PLR0124 -- NaN cannot be stored as JSON


@pytest.mark.parametrize("depth", [499, 500, 501, 1024, 1025])
@pytest.mark.parametrize("wide", [b"", b",[]" * 500])
def test_a_value_that_is_shown_as_stored_can_be_read_in_its_frame(depth: int, wide: bytes) -> None:
    value = b"[" * depth + b"1" + wide + b"]" * depth
    event, data = encode(0, SourceRecord(value, offset=0, timestamp=0))

    framed = orjson.loads(b'{"events":[%b]}' % event.json)["events"][0]["value"]

    as_stored = depth + bool(wide) <= 500
    assert [isinstance(each, list) for each in (framed, data, event.data())] == [as_stored] * 3
