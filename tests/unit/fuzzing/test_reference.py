"""The second opinion on JSON, and that the service's own agrees with it on everything."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.events import Failure, SourceRecord
from service.normalizers.base import TOMBSTONE
from service.normalizers.json import JsonNormalizer
from tests.fuzzing.records import Records
from tests.fuzzing.reference import RefusedError, parse


def _reference(value: bytes) -> object:
    try:
        document = parse(value)
    except RefusedError as refused:
        return refused.code
    return document if isinstance(document, dict) else "schema"


def _service(value: bytes) -> object:
    (data,) = JsonNormalizer().decode_many([SourceRecord(value)])
    assert data is not TOMBSTONE
    return data.code if isinstance(data, Failure) else data


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"a":1}', {"a": 1}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b"[1]", "schema"),
        (b"", "decode"),
        (b'\xef\xbb\xbf{"a":1}', "decode"),
        (b'{"a":NaN}', "decode"),
        (b'{"a":18446744073709551616}', "decode"),
        (b'{"a":"\\ud800"}', "decode"),
        (b'{"a":"\xff"}', "decode"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "decode"),
        (b'"' + b"x" * 262_143 + b'"', "too_large"),
    ],
    ids=[
        "object", "repeated key", "array", "empty", "byte-order mark", "no number", "wide integer",
        "half a character", "no UTF-8", "deep", "large",
    ],
)  # fmt: skip
def test_the_reference_knows_each_rule(value: bytes, expected: object) -> None:
    assert _reference(value) == expected


@given(st.integers(0, 2**32))
def test_the_service_agrees_with_the_reference_on_what_the_fuzzer_makes(seed: int) -> None:
    records = Records(random.Random(seed))

    for _ in range(20):
        value = records.next().value
        if value is not None:
            assert _service(value) == _reference(value), value[:200]
