import itertools
import pickle
from typing import Any

import pytest

from service.errors import (
    FatalError,
    HandlerFailedError,
    PermanentError,
    SchemaError,
    TransientError,
)
from service.events import SAME_KEY, Event, RecordBatch, Result, SourceRecord
from service.handlers.results import MAX_RESULTS
from service.handlers.worker import FRAME_HEADER_BYTES, Portable, Reply, answer
from tests.unit.mistaken_errors import CarelessError, MuteStatusError

_BATCH = RecordBatch("t", 3, [SourceRecord(b"", offset=7)], next_offset=8)
_EVENT = Event(
    {"a": 1}, key=b"k", timestamp=5, type="x", headers=[("h", b"v")], batch=_BATCH, attempts=2
)


def _answered(call: Any) -> Reply:
    framed = answer(call, Portable.of(_EVENT))
    assert int.from_bytes(framed[:FRAME_HEADER_BYTES], "big") == len(framed) - FRAME_HEADER_BYTES
    reply = pickle.loads(framed[FRAME_HEADER_BYTES:])  # noqa: S301 -- made a line above
    assert isinstance(reply, Reply)
    return reply


def _raising(error: Exception) -> Any:
    def call(_event: Event) -> None:
        raise error

    return call


def test_an_event_survives_the_journey_without_its_batch() -> None:
    event = pickle.loads(pickle.dumps(Portable.of(_EVENT))).event()  # noqa: S301 -- our own

    assert repr(event) == "Event(t/3/7)"
    assert (event.data, event.key, event.timestamp, event.type) == ({"a": 1}, b"k", 5, "x")
    assert event.headers == (("h", b"v"),)
    assert event.attempts == 2


def test_a_value_comes_back() -> None:
    assert _answered(lambda event: event.offset).unwrap() == 7


def test_a_result_keeps_meaning_the_key_of_its_event() -> None:
    assert _answered(lambda event: Result(event.data)).unwrap().key is SAME_KEY


def test_a_transient_error_keeps_its_wait() -> None:
    reply = _answered(_raising(TransientError("busy", retry_after_s=3)))

    with pytest.raises(TransientError, match="busy") as caught:
        reply.unwrap()
    assert caught.value.retry_after_s == 3


def test_a_permanent_error_keeps_its_code() -> None:
    reply = _answered(_raising(SchemaError("a.b", "not text")))

    with pytest.raises(PermanentError, match=r"a\.b: not text") as caught:
        reply.unwrap()
    assert caught.value.code == "schema"
    assert PermanentError.code == "handler"


def test_an_error_that_is_made_carelessly_keeps_its_meaning() -> None:
    with pytest.raises(TransientError):
        _answered(_raising(CarelessError("http://"))).unwrap()
    with pytest.raises(PermanentError) as caught:
        _answered(_raising(MuteStatusError(404))).unwrap()
    assert caught.value.code == "handler"


def test_any_other_error_is_told_by_its_kind_and_place_and_not_by_its_words() -> None:
    with pytest.raises(HandlerFailedError, match=r"^KeyError in call \(test_worker\.py:\d+\)$"):
        _answered(_raising(KeyError("secret"))).unwrap()


def test_of_a_group_the_gravest_error_counts_as_in_the_loop() -> None:
    others = [KeyError("x"), TransientError("busy")]

    with pytest.raises(TransientError, match="busy"):
        _answered(_raising(ExceptionGroup("", [TransientError("busy")]))).unwrap()
    group = ExceptionGroup("", [*others, SchemaError("a.b", "not text")])
    with pytest.raises(PermanentError, match=r"a\.b: not text") as caught:
        _answered(_raising(ExceptionGroup("", [group]))).unwrap()
    with pytest.raises(FatalError, match="out of disk"):
        _answered(_raising(ExceptionGroup("", [*others, FatalError("out of disk")]))).unwrap()

    assert caught.value.code == "schema"


def test_a_fatal_error_is_no_records_fault_either() -> None:
    with pytest.raises(FatalError, match="out of disk"):
        _answered(_raising(FatalError("out of disk"))).unwrap()


def test_an_iterator_is_read_before_it_leaves() -> None:
    reply = _answered(lambda _event: (number for number in range(3)))

    assert reply.unwrap() == [0, 1, 2]


def test_an_endless_iterator_is_not_read_to_its_end() -> None:
    assert len(_answered(lambda _event: itertools.count()).unwrap()) == MAX_RESULTS + 1


def test_a_result_that_cannot_leave_its_process_is_a_permanent_error() -> None:
    with pytest.raises(PermanentError, match="cannot leave its process"):
        _answered(lambda _event: lambda: None).unwrap()
