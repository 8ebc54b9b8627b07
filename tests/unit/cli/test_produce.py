import argparse
from io import BytesIO

import pytest

from service.cli.produce import file_key, key_of, lines_of


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
