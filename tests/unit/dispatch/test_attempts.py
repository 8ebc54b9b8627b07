import pytest

from service.delivery.delays import Delayed
from service.delivery.retry import DelayTopic, RetryPolicy
from service.dispatch.attempts import Attempts
from service.errors import FatalError, HandlerTimeoutError, PermanentError, TransientError
from service.events import Event, Headers, Outcome, RecordBatch, SourceRecord
from service.metrics import PipelineCounters

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


def test_attempts_are_remembered_on_the_batch_and_restored_from_it() -> None:
    attempts, event, counters = setting()
    attempts.after(event, HandlerTimeoutError("late"))
    other = Event({}, batch=event.batch, index=0)

    attempts.restore(other)

    assert other.attempts == 1
    assert counters.handler("h").timed_out == 1


def test_a_fatal_error_goes_on() -> None:
    attempts, event, _ = setting()

    with pytest.raises(FatalError):
        attempts.after(event, FatalError("cannot go on"))
    assert event.attempts == 0
