import argparse
from io import BytesIO

import pytest

from service.cli.produce import Keys, file_key, key_of, lines_of


def test_lines_are_sent_as_they_are_without_their_ends() -> None:
    file = BytesIO(b'WARN: a\r\n\n{"a": 1}\n  two\xff')

    assert list(lines_of(file)) == [b"WARN: a", b'{"a": 1}', b"  two\xff"]


@pytest.mark.parametrize(
    ("value", "field", "expected"),
    [
        (b'{"a": "x"}', None, None),
        (b'{"a": "x"}', "a", b"x"),
        (b'{"a": 5}', "a", b"5"),
        (b'{"a": null}', "a", None),
        (b'{"b": 5}', "a", None),
        (b'["a"]', "a", None),
        (b"WARN: a", "a", None),
    ],
)
def test_a_key_is_the_field_of_an_object(
    value: bytes, field: str | None, expected: bytes | None
) -> None:
    assert key_of(value, field) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({"sample": None, "file": "-"}, b"stdin", id="standard-input"),
        pytest.param({"sample": None, "file": "logs/app.log"}, b"app.log", id="file"),
        pytest.param({"sample": "logs", "file": "-"}, None, id="sample"),
    ],
)
def test_lines_of_a_file_stay_together_under_its_name(
    arguments: dict[str, str | None], expected: bytes | None
) -> None:
    assert file_key(argparse.Namespace(**arguments)) == expected


def test_events_that_lack_the_field_of_the_key_are_counted_and_told() -> None:
    keys = Keys("sensr", b"readings.ndjson")

    got = [keys.of(value) for value in (b'{"sensor": "a"}', b'{"sensr": "b"}', b"plain")]

    assert got == [b"readings.ndjson", b"b", b"readings.ndjson"]
    assert keys.warning() == "2 of them have no field 'sensr': they got the key 'readings.ndjson'"


def test_nothing_is_said_of_keys_that_were_found_or_that_nobody_asked_for() -> None:
    asked, unasked = Keys("a", b"stdin"), Keys(None, b"stdin")

    assert (asked.of(b'{"a": "x"}'), asked.warning()) == (b"x", None)
    assert (unasked.of(b'{"a": "x"}'), unasked.warning()) == (b"stdin", None)
