from typing import Any

from structlog.testing import capture_logs

from service.dispatch.failure_log import MAX_KINDS, PERIOD_S, FailureLog
from service.errors import PermanentError, TransientError
from service.events import Event, RecordBatch, SourceRecord
from service.handlers.spec import handler
from service.testing.harness import Harness, pipeline_of


@handler("fails_in_the_log")
def fails(event: Event) -> dict[str, Any]:
    return {"number": int(event.data["number"])}


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def event() -> Event:
    batch = RecordBatch("in", 3, (SourceRecord(b"v", offset=7),), next_offset=8)
    return Event({}, batch=batch, index=0, attempts=2)


def lines(logs: list[Any]) -> list[dict[str, Any]]:
    return [entry for entry in logs if entry["event"] == "handler failed"]


async def test_the_log_says_what_a_handler_fails_of_and_quotes_nothing_above_debug() -> None:
    with capture_logs() as logs:
        async with Harness(pipeline_of(fails, retry={"attempts": 3})) as service:
            await service.send({"number": "secret"})
            await service.settle()

    (line,) = lines(logs)
    assert line["log_level"] == "warning"
    assert (line["pipeline"], line["handler"]) == ("test", "handler")
    assert (line["topic"], line["partition"], line["offset"], line["attempts"]) == (
        "input",
        0,
        0,
        1,
    )
    assert line["error"].startswith("ValueError in fails (test_failure_log.py:")
    assert line["follows"].startswith("the next attempt in 0.")
    (debug,) = [entry for entry in logs if "secret" in repr(entry)]
    assert debug["log_level"] == "debug"
    assert "int(event.data" in debug["exception"]


def test_each_kind_of_error_has_a_line_now_and_then() -> None:
    clock = Clock()
    told = FailureLog("p", "h", clock=clock)

    with capture_logs() as logs:
        for _ in range(3):
            told.tell(event(), TransientError("away"), "a dead letter")
            told.tell(event(), PermanentError("no"), "a dead letter")
        clock.now_s += PERIOD_S
        told.tell(event(), TransientError("away"), "a dead letter")

    assert [(line["log_level"], line["error"], line["unwritten"]) for line in lines(logs)] == [
        ("warning", "TransientError: away", 0),
        ("info", "PermanentError: no", 0),
        ("warning", "TransientError: away", 2),
    ]


def test_classes_without_end_are_not_all_remembered() -> None:
    told = FailureLog("p", "h")

    for number in range(3 * MAX_KINDS):
        told.tell(event(), type(f"Error{number}", (Exception,), {})(), "a dead letter")

    assert len(told._told) <= MAX_KINDS
