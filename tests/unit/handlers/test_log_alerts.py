from typing import Any

import pytest

from service.errors import ConfigurationError, SchemaError
from service.events import Event, RecordBatch, SourceRecord
from service.handlers import load_handler

_BATCH = RecordBatch("logs.raw", 0, [SourceRecord(b"")], next_offset=1)


def _alert(data: Any, **options: Any) -> Any:
    return load_handler("log_alerts").bind(options).call(Event(data, timestamp=17, batch=_BATCH))


def test_a_warning_becomes_an_alert_with_the_other_fields_of_the_log() -> None:
    log = {
        "message": "Pool nearly exhausted.",
        "service": "db",
        "level": "WARN",
        "timestamp": "2026-01-02T03:04:05Z",
        "pool": 3,
    }

    alert = _alert(log)

    assert list(alert.items()) == [
        ("level", "WARN"),
        ("message", "Pool nearly exhausted."),
        ("alert", "[ALERT - WARN] Pool nearly exhausted."),
        ("timestamp", "2026-01-02T03:04:05Z"),
        ("service", "db"),
        ("pool", 3),
    ]


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "FATAL"])
def test_other_levels_are_acknowledged_silently(level: str) -> None:
    assert _alert({"level": level, "message": "x"}) is None


def test_the_levels_are_an_option() -> None:
    assert _alert({"level": "FATAL", "message": "x"}, levels=["FATAL"])["alert"] == (
        "[ALERT - FATAL] x"
    )
    assert _alert({"level": "WARN", "message": "x"}, levels=["FATAL"]) is None


def test_a_log_without_a_timestamp_gets_that_of_its_record() -> None:
    alert = _alert({"level": "ERROR", "message": "x"})

    assert alert["timestamp"] == 17
    assert alert["service"] is None


def test_a_log_cannot_forge_the_alert_text() -> None:
    alert = _alert({"level": "ERROR", "message": "x", "alert": "all is well"})

    assert alert["alert"] == "[ALERT - ERROR] x"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"message": "x"}, "level: missing"),
        ({"level": ["WARN"], "message": "x"}, "level: not text"),
        ({"level": "WARN"}, "message: missing"),
        ({"level": "WARN", "message": 5}, "message: not text"),
        (None, "level: missing"),
    ],
    ids=["no level", "level no text", "no message", "message no text", "no mapping"],
)
def test_what_is_no_log_event_is_a_schema_error(data: Any, problem: str) -> None:
    with pytest.raises(SchemaError, match=problem):
        _alert(data)


def test_an_unknown_level_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match=r"options\.levels\.0"):
        _alert({}, levels=["LOUD"])
