from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.events import Failure, SourceRecord
from service.normalizers import TOMBSTONE, LogNormalizer
from service.normalizers.base import refused
from service.normalizers.documents import decode_document
from service.normalizers.json import not_an_object
from service.normalizers.log import normal_level

normalizer = LogNormalizer()


def decode(*values: bytes | None) -> list[Any]:
    return normalizer.decode_many([SourceRecord(value) for value in values])


def decode_alone(value: bytes | None) -> Any:
    """One value, step by step."""
    data = decode_document(value, normalizer.limits, normalizer.salvage)
    if isinstance(data, Failure) or data is TOMBSTONE:
        return data
    if not isinstance(data, dict):
        return not_an_object(data)
    if "level" not in data:
        return data
    if not isinstance(data["level"], str):
        return refused("schema", "level: should be a string")
    return {**data, "level": normal_level(data["level"])}


def comparable(data: Any) -> Any:
    return (data.code, data.detail) if isinstance(data, Failure) else data


@pytest.mark.parametrize(
    ("line", "level", "message"),
    [
        ("WARN: Database connection pool nearly exhausted.", "WARN",
         "Database connection pool nearly exhausted."),
        ("INFO User 'alice' logged in.", "INFO", "User 'alice' logged in."),
        ("[error]: disk full\n", "ERROR", "disk full"),
        ("[ ERROR ] disk full", "ERROR", "disk full"),
        ("warning: low", "WARN", "low"),
        ("ERR: a: b", "ERROR", "a: b"),
        ("  DEBUG:   Cache hit  ", "DEBUG", "Cache hit"),
        ("AUDIT: who", "AUDIT", "who"),
        ("ERROR:", "ERROR", ""),
        ("WARNING:root:disk full", "WARN", "root:disk full"),
        ("CRITICAL:app.db:down", "CRITICAL", "app.db:down"),
        ("ERROR: first\n  at second", "ERROR", "first\n  at second"),
        ("ERROR: größer ✓", "ERROR", "größer ✓"),
    ],
)  # fmt: skip
def test_a_plain_line_gives_level_and_message(line: str, level: str, message: str) -> None:
    assert decode(line.encode()) == [{"level": level, "message": message}]


@pytest.mark.parametrize(
    "value",
    [b"", b"hello world", b"Error connecting", b"https://example.org", b"Error:root:x",
     b"\xff\xfe: x", b"[1, 2", b'{"level": "WARN"', b"WARN", b"12: x", b"\xef\xbb\xbfWARN: x"],
    ids=["empty", "no level", "a word that is no level here", "a URL", "no capitals", "no UTF-8",
         "broken array", "broken object", "a level alone", "a number", "byte-order mark"],
)  # fmt: skip
def test_what_is_neither_json_nor_a_line_does_not_decode(value: bytes) -> None:
    (failure,) = decode(value)

    assert isinstance(failure, Failure)
    assert failure.code == "decode"


def test_a_json_log_keeps_its_fields_and_gets_a_normal_level() -> None:
    value = b'{"level": "warning", "message": "m", "timestamp": 1, "service": "s", "x": [1]}'

    assert decode(value) == [
        {"level": "WARN", "message": "m", "timestamp": 1, "service": "s", "x": [1]}
    ]


def test_a_json_log_without_a_level_is_kept() -> None:
    assert decode(b'{"message": "m"}') == [{"message": "m"}]


@pytest.mark.parametrize("level", [b"3", b"null", b"[]", b'{"a": 1}', b"true"])
def test_a_level_that_is_no_string_is_a_schema_failure(level: bytes) -> None:
    before, failure, after = decode(
        b'{"level": "INFO"}', b'{"level": ' + level + b"}", b'{"level": "info"}'
    )

    assert (before, after) == ({"level": "INFO"}, {"level": "INFO"})
    assert comparable(failure) == ("schema", "level: should be a string")


def test_json_that_is_no_object_is_a_schema_failure() -> None:
    (failure,) = decode(b'["level"]')

    assert comparable(failure) == ("schema", "should be an object, is an array")


def test_lines_logs_and_tombstones_mix_in_one_chunk() -> None:
    assert decode(b"WARN: x", None, b'{"level": "err"}') == [
        {"level": "WARN", "message": "x"},
        TOMBSTONE,
        {"level": "ERROR"},
    ]


def test_a_line_with_a_long_number_or_many_brackets_is_a_line() -> None:
    line = b"WARN: id 123456789012345678901234567890 " + b"[" * 100

    assert decode(line)[0]["message"] == line.decode().removeprefix("WARN: ")


_LEVELS = st.sampled_from(["INFO", "warn", "Warning", "ERR", "custom", "", " info "])
_LINES = st.builds(lambda level, text: f"{level}: {text}".encode(), _LEVELS, st.text())
_LOGS = st.builds(
    lambda level: b'{"m": 1, "level": %b}' % level,
    st.sampled_from([b'"INFO"', b'"warn"', b'"Err"', b"1", b"null", b"[1]"]),
)
_VALUES = st.none() | st.binary(max_size=30) | _LINES | _LOGS


@given(st.lists(_VALUES, max_size=30))
def test_a_chunk_decodes_as_its_values_do_alone(values: list[bytes | None]) -> None:
    together = decode(*values)

    assert list(map(comparable, together)) == [comparable(decode_alone(value)) for value in values]
