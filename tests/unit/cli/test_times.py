import pytest

from service.cli.times import parse_time
from service.cli.usage import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1764230400000", 1_764_230_400_000),
        ("1970-01-01T00:00:01", 1000),
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T01:00:01+01:00", 1000),
        ("1970-01-02", 86_400_000),
        ("1969-12-31T23:59:59.999Z", 0),
        ("0001-01-01", 0),
        ("999999999999999", 253_402_300_799_999),
    ],
)
def test_a_time_is_milliseconds_or_iso_in_utc(text: str, expected: int) -> None:
    assert parse_time(text) == expected


def test_now_is_now() -> None:
    assert parse_time("now") > parse_time("2026-01-01")


@pytest.mark.parametrize("text", ["", "yesterday", "-5", "12:00", "9" * 30])
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        parse_time(text)


@pytest.mark.parametrize("text", ["5", "1764230400"])
def test_seconds_are_not_taken_for_milliseconds(text: str) -> None:
    with pytest.raises(UsageError, match=f"^{text} looks like seconds: .*milliseconds"):
        parse_time(text)
