import orjson
import pytest

from service.cli.kafka_tools import StoredRecord
from service.cli.tail import as_event, json_line, parse_where
from service.cli.usage import UsageError


def test_a_record_is_shown_with_its_place_and_headers() -> None:
    record = StoredRecord("t", 1, 7, 1000, b"k", b'{"a": 1}', (("h", b"x"),))

    assert as_event(record) == {
        "partition": 1,
        "offset": 7,
        "timestamp": 1000,
        "key": "k",
        "value": {"a": 1},
        "headers": {"h": "x"},
    }


def test_bytes_that_are_neither_json_nor_text_are_escaped() -> None:
    event = as_event(StoredRecord("t", 0, 0, 0, b"\xff", b"\xfe", (("h", b"\xfd"),)))

    assert (event["key"], event["value"], event["headers"]["h"]) == ("\\xff", "\\xfe", "\\xfd")


def test_a_tombstone_has_no_value() -> None:
    assert as_event(StoredRecord("t", 0, 0, 0, None, None, ()))["value"] is None


@pytest.mark.parametrize("depth", [1, 200, 400, 1000, 2000])
def test_a_value_of_any_depth_has_a_line(depth: int) -> None:
    value = b"[" * depth + b"]" * depth
    record = StoredRecord("t", 0, 0, 0, None, value, ())

    shown = orjson.loads(json_line(as_event(record), record))["value"]

    assert shown in (value.decode(), orjson.loads(value) if depth <= 200 else None)


@pytest.mark.parametrize("text", ["level == 'WARN'", '{"field": "level", "equals": "WARN"}'])
def test_a_filter_is_jmespath_or_json(text: str) -> None:
    where = parse_where(text)

    assert where is not None
    assert where({"level": "WARN"})
    assert not where({"level": "INFO"})


@pytest.mark.parametrize("text", ["level ==", '{"field": "x"}', "{broken"])
def test_what_is_no_filter_is_a_configuration_error(text: str) -> None:
    with pytest.raises(UsageError, match="--where"):
        parse_where(text)
