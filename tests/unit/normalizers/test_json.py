from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.events import Failure, SourceRecord
from service.normalizers import TOMBSTONE, JsonNormalizer, Limits
from service.normalizers.documents import decode_document
from service.normalizers.json import not_an_object
from tests.json_text import as_json

normalizer = JsonNormalizer()


def decode(*values: bytes | None) -> list[Any]:
    return normalizer.decode_many([SourceRecord(value) for value in values])


def decode_alone(value: bytes | None) -> Any:
    """One value, step by step."""
    data = decode_document(value, normalizer.limits, normalizer.salvage)
    if isinstance(data, dict | Failure) or data is TOMBSTONE:
        return data
    return not_an_object(data)


def comparable(data: Any) -> Any:
    """Data as it is; a failure by what it says, since failures compare by identity."""
    return (data.code, data.detail, data.stage) if isinstance(data, Failure) else data


def test_objects_come_out_in_order() -> None:
    assert decode(b'{"a": 1}', b'{"b": [1.5, null]}') == [{"a": 1}, {"b": [1.5, None]}]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"{",
        b'{"a": 1} x',
        b'{"a": 1}{"b": 2}',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": 18446744073709551616}',
        b'{"a": -9223372036854775809}',
        b'{"a": [{"b": 99999999999999999999999}]}',
        b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}",
        b"[" * 2000,
    ],
    ids=[
        "empty",
        "blank",
        "cut off",
        "trailing bytes",
        "two documents",
        "byte-order mark",
        "NaN",
        "Infinity",
        "number too large for a float",
        "invalid UTF-8",
        "lone surrogate",
        "integer above 64 bits",
        "integer below 64 bits",
        "nested wide integer",
        "nested 65 deep",
        "nested deeper than the parser goes",
    ],
)
def test_bytes_that_do_not_decode_are_a_failure_and_their_neighbours_are_not(value: bytes) -> None:
    before, failure, after = decode(b'{"n": 1}', value, b'{"n": 2}')

    assert (before, after) == ({"n": 1}, {"n": 2})
    assert isinstance(failure, Failure)
    assert (failure.code, failure.stage) == ("decode", "normalize")


@pytest.mark.parametrize(
    "value",
    [
        b'{"a": 18446744073709551615}',
        b'{"a": -9223372036854775808}',
        b'{"a": 1790000000123456789}',
        b'{"a": "99999999999999999999999"}',
        b'{"99999999999999999999999": 1}',
        b'{"a": 99999999999999999999.5}',
        b'{"a": 99999999999999999999e3}',
        b'{"a": "\\"99999999999999999999999"}',
        b'{"a": ' + b"[" * 63 + b"]" * 63 + b"}",
        b'{"a": "' + b"[" * 100 + b'"}',
        b"{" + b",".join(b'"k%d": {}' % index for index in range(200)) + b"}",
    ],
    ids=[
        "largest integer",
        "smallest integer",
        "nanoseconds",
        "digits in text",
        "digits in a key",
        "wide fraction",
        "wide exponent",
        "digits behind an escaped quote",
        "nested 64 deep",
        "brackets in text",
        "wide but shallow",
    ],
)
def test_values_at_the_edge_of_a_limit_decode(value: bytes) -> None:
    assert decode(value) == [orjson.loads(value)]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"[]", "an array"),
        (b'"x"', "a string"),
        (b"1", "a number"),
        (b"1.5", "a number"),
        (b"true", "a boolean"),
        (b"null", "null"),
    ],
)
def test_json_that_is_no_object_is_a_schema_failure(value: bytes, kind: str) -> None:
    (failure,) = decode(value)

    assert comparable(failure) == ("schema", f"should be an object, is {kind}", "normalize")


def test_a_null_value_is_a_tombstone() -> None:
    assert decode(b"{}", None, b"{}") == [{}, TOMBSTONE, {}]


def test_a_value_above_the_limit_is_not_parsed() -> None:
    small = JsonNormalizer(Limits(max_value_bytes=20))
    records = [SourceRecord(b'{"a": 1}'), SourceRecord(b"x" * 21), SourceRecord(b'{"b": 2}')]

    first, failure, last = small.decode_many(records)

    assert (first, last) == ({"a": 1}, {"b": 2})
    assert comparable(failure) == (
        "too_large",
        "the value has 21 bytes, more than 20",
        "normalize",
    )


def test_no_records_are_no_data() -> None:
    assert decode() == []


def test_a_failure_never_repeats_the_value() -> None:
    (failure,) = decode(b'{"password": s3cret}')

    assert "s3cret" not in failure.detail


_NUMBERS = (
    st.integers(-(2**70), 2**70)
    | st.integers(2**64 - 3, 2**64 + 3)
    | st.integers(-(2**63) - 3, -(2**63) + 3)
)
_TREES = st.recursive(
    _NUMBERS | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


_DEEP = st.integers(0, 140).map(lambda depth: b'{"d":' + b"[" * depth + b"]" * depth + b"}")
_VALUES = st.none() | st.binary(max_size=40) | _TREES.map(as_json) | _DEEP


@given(st.lists(_VALUES, max_size=40))
@example([b"-", b"9223372036854775809"])
@example([b"1234567890", b"1234567890"])
@example([b"9" * 400, b'{"a":-' + b"9" * 400 + b"}", b'{"a":' + b"9" * 5000 + b"}"])
@example([None, b"{" + b'"d":[' + b"[" * 63 + b"]" * 63 + b"]}"])
def test_a_chunk_decodes_as_its_values_do_alone(values: list[bytes | None]) -> None:
    together = decode(*values)

    assert list(map(comparable, together)) == [comparable(decode_alone(value)) for value in values]


@given(st.lists(st.binary(), max_size=20))
def test_decoding_never_raises(values: list[bytes]) -> None:
    assert len(decode(*values)) == len(values)
