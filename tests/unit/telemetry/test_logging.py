import logging
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
import structlog
from opentelemetry.util.re import parse_env_headers

from service.telemetry import log_writer
from service.telemetry.log_writer import LogWriter
from service.telemetry.logging import configure_logging, lines_dropped, set_level

Lines = Callable[[], list[bytes]]


class Output:
    """A log that goes to a pipe, and what came out of it."""

    def __init__(self) -> None:
        self._read_fd, self.fd = os.pipe()
        self.writer: LogWriter | None = None

    def configure(self, **options: Any) -> None:
        self.writer = configure_logging(fd=self.fd, **options)

    def text(self) -> str:
        assert self.writer is not None
        assert self.writer.flush()
        return os.read(self._read_fd, 65536).decode()

    def entries(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.text().splitlines()]

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        os.close(self._read_fd)
        os.close(self.fd)


@pytest.fixture
def output() -> Iterator[Output]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    output = Output()
    yield output
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("aiokafka").setLevel(logging.NOTSET)
    output.close()


def test_an_entry_is_one_json_object_a_line(output: Output) -> None:
    output.configure()

    structlog.get_logger("service.app").info("partitions assigned", topic="logs.raw", count=3)

    entry = output.entries()[0]
    assert list(entry)[:3] == ["timestamp", "level", "event"]
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "level": "info",
        "event": "partitions assigned",
        "topic": "logs.raw",
        "count": 3,
        "logger": "service.app",
    }


def test_an_exception_is_part_of_its_entry(output: Output) -> None:
    output.configure()

    try:
        int("no\x1bgood")
    except ValueError:
        structlog.get_logger().exception("handler failed", offset=7)

    entry = output.entries()[0]
    assert entry["level"] == "error"
    assert entry["exception"].endswith(r"invalid literal for int() with base 10: 'no\x1bgood'")


def test_libraries_log_in_the_same_form(output: Output) -> None:
    output.configure()

    logging.getLogger("aiokafka.conn").warning("node %s\nis gone", 3)

    entry = output.entries()[0]
    assert (entry["event"], entry["logger"]) == ("node 3\\u000ais gone", "aiokafka.conn")


def test_a_library_that_repeats_itself_is_cut_short_and_a_handler_is_not(output: Output) -> None:
    output.configure()

    for _ in range(100):
        logging.getLogger("aiokafka.consumer").warning("again")
        logging.getLogger("shop").warning("sold")

    events = [entry["event"] for entry in output.entries()]
    assert (events.count("again"), events.count("sold")) == (10, 100)


def test_headers_that_opentelemetry_finds_malformed_are_not_quoted(output: Output) -> None:
    output.configure()

    parse_env_headers("Authorization Bearer s3cret")

    (entry,) = output.entries()
    assert entry["event"].startswith("Header format invalid!")
    assert "s3cret" not in entry["event"]


def test_a_warning_of_python_is_logged(output: Output) -> None:
    output.configure()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old way", DeprecationWarning, stacklevel=1)

    assert "old way" in output.entries()[0]["event"]


def test_chatty_libraries_are_heard_from_warning_on(output: Output) -> None:
    output.configure()

    logging.getLogger("aiokafka.group").info("rejoining")
    logging.getLogger("elsewhere").info("hello")

    assert [entry["event"] for entry in output.entries()] == ["hello"]


def test_the_level_is_changed_while_running(output: Output) -> None:
    output.configure(level="WARNING")
    log = structlog.get_logger()

    log.info("before")
    set_level("DEBUG")
    log.debug("after")
    logging.getLogger("elsewhere").debug("after too")

    assert [entry["event"] for entry in output.entries()] == ["after", "after too"]


def test_the_console_form_is_for_people(output: Output) -> None:
    output.configure(fmt="console")

    structlog.get_logger().info("started", topic="logs\n.raw")

    assert "[info     ] started" in output.text()


def test_dropped_lines_are_a_number_for_the_metrics(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    output.configure()
    monkeypatch.setattr(log_writer, "MAX_LINES", 0)

    structlog.get_logger().info("lost")

    assert lines_dropped() == 1


def test_configuring_again_replaces_the_library_handler(output: Output) -> None:
    output.configure()
    first = output.writer
    output.configure()

    logging.getLogger("elsewhere").warning("once")

    assert [entry["event"] for entry in output.entries()] == ["once"]
    assert first is not None
    first.close()


def test_a_bad_library_call_does_not_fail_its_caller(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    output.configure()
    monkeypatch.setattr(logging, "raiseExceptions", False)

    logging.getLogger("elsewhere").warning("%d", "no number")
    logging.getLogger("elsewhere").warning("next")

    assert [entry["event"] for entry in output.entries()] == ["next"]
