from collections.abc import Callable
from typing import Any

import pytest

from service import handler
from service.delivery.delays import Delayed
from service.delivery.retry import DelayTopic, RetryPolicy
from service.dispatch.attempts import Attempts
from service.errors import FatalError, HandlerTimeoutError, PermanentError, TransientError
from service.events import Event, Headers, Outcome, RecordBatch, SourceRecord
from service.metrics import PipelineCounters
from service.testing.harness import Harness

POLICY = RetryPolicy(
    attempts=2, initial_s=1.0, jitter=0.0, delay_topics=(DelayTopic("later", 60.0),)
)


def setting(topic: str = "in", headers: Headers = ()) -> tuple[Attempts, Event, PipelineCounters]:
    counters = PipelineCounters("p")
    record = SourceRecord(b"v", key=b"k", offset=7, headers=headers)
    batch = RecordBatch(topic, 3, (record,), next_offset=8)
    event = Event({}, b"k", batch=batch, index=0)
    attempts = Attempts(POLICY, counters.handler("h"), handler="h", random=lambda: 0.5)
    return attempts, event, counters


def test_a_wait_follows_a_failed_attempt_then_a_delay_topic_then_a_dead_letter() -> None:
    attempts, event, counters = setting()

    wait_s = attempts.after(event, TransientError("away"))
    delayed = attempts.after(event, TransientError("away"))

    assert wait_s == 1.0
    assert isinstance(delayed, Outcome)
    assert isinstance(delayed.results, tuple)
    (result,) = delayed.results
    assert isinstance(result, Delayed)
    assert (result.topic, result.key, result.value) == ("later", b"k", b"v")
    again, event, _ = setting("later", result.pairs)
    again.restore(event)
    assert event.attempts == 2
    buried = again.after(event, TransientError("away"))
    assert isinstance(buried, Outcome)
    assert buried.failure is not None
    assert (buried.failure.code, buried.failure.attempts) == ("handler", 3)
    assert (counters.handler("h").failed, counters.handler("h").retries) == (2, 1)


def test_what_can_never_work_is_not_tried_again() -> None:
    attempts, event, _ = setting()

    buried = attempts.after(event, PermanentError("no"))

    assert isinstance(buried, Outcome)
    assert buried.failure is not None
    assert buried.failure.attempts == 1


def test_of_the_errors_of_a_task_group_the_gravest_decides_and_is_told() -> None:
    attempts, event, _ = setting()
    away, no = TransientError("away"), PermanentError("no")

    buried = attempts.after(event, ExceptionGroup("", [away, ExceptionGroup("", [no])]))

    assert isinstance(buried, Outcome)
    assert buried.failure is not None
    assert buried.failure.detail == "PermanentError: no"
    with pytest.raises(FatalError, match="cannot go on"):
        attempts.after(event, ExceptionGroup("", [no, FatalError("cannot go on")]))


def test_attempts_of_an_earlier_process_are_restored_and_those_of_this_one_remembered() -> None:
    attempts, event, counters = setting()
    event.batch.inherited = {0: 1}

    attempts.restore(event)
    attempts.after(event, HandlerTimeoutError("late"))

    assert event.attempts == 2
    assert event.batch.attempts == {0: 2}
    assert counters.handler("h").timed_out == 1


def test_a_fatal_error_goes_on() -> None:
    attempts, event, _ = setting()

    with pytest.raises(FatalError):
        attempts.after(event, FatalError("cannot go on"))
    assert event.attempts == 0


@handler("attempts_tests_thrice")
def thrice(event: Event) -> dict[str, Any]:
    if event.attempts < 3:
        raise TransientError("not yet")
    return {}


@handler("attempts_tests_once")
class Once:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, event: Event) -> dict[str, Any]:
        self.calls += 1
        if self.calls == 1:
            raise TransientError("once")
        return {"calls": self.calls, "failed": event.attempts}


@pytest.mark.parametrize("place", ["beside", "upstream"])
async def test_what_another_handler_failed_of_is_not_counted(
    place: str, headrace: Callable[..., Harness]
) -> None:
    kafka = {"kafka": {"topics": ["in"], "group_id": "g"}}
    first = {"first": {"use": "attempts_tests_thrice", "retry": {"attempts": 4}}}
    second = {"second": {"use": "attempts_tests_once", "output": "out", "retry": {"attempts": 2}}}
    front: dict[str, Any] = {"sources": kafka, "dead_letter": "dead", "handlers": first}
    pipelines = {"p": {**front, "handlers": {**first, **second}}}
    if place == "upstream":
        back = {"sources": {"pipeline": {"name": "p"}}, "dead_letter": "dead", "handlers": second}
        pipelines = {"p": front, "q": back}

    async with headrace({"pipelines": pipelines}) as service:
        await service.send({}, topic="in")
        await service.settle()

        assert service.outputs("out") == [{"calls": 2, "failed": 1}]
