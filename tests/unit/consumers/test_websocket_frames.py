"""Messages cut into events: the bytes of an event are never changed."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.consumers.websocket_frames import MAX_ID_BYTES, BadFrameError, Submission, split

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    "message",
    [
        b"WARN: disk almost full",
        b"",
        b"{",
        b"[1, 2",
        b'{"id": 1, "event": {"a": "\xff"}}',
        b'[{"id": 1, "event": {}}, nonsense]',
        b"\xef\xbb\xbf{}",
        b'"text"',
        b"42",
    ],
    ids=repr,
)
def test_what_is_no_batch_and_no_envelope_is_one_event_unchanged(message: bytes) -> None:
    assert split(message) == [Submission(message, None)]


@pytest.mark.parametrize(
    "message",
    [
        b"%s%s" % (b"[" * 20_000, b"]" * 20_000),
        b"[" * 20_000,
        b'{"id":%s%s,"event":1}' % (b"[" * 20_000, b"]" * 20_000),
        b'[{"id":1,"event":{}},%s%s]' % (b'{"a":' * 20_000, b"}" * 20_000),
    ],
    ids=["arrays", "only opened", "within an id", "within a batch"],
)
def test_what_is_nested_deeper_than_can_be_followed_is_one_event_unchanged(message: bytes) -> None:
    assert split(message) == [Submission(message, None)]


def test_an_envelope_has_exactly_an_id_and_an_event() -> None:
    plain = b'{"id":1,"event":"login","user":7}'

    assert split(plain) == [Submission(plain, None)]
    assert split(b'{"event":{"n":1},"id":"x"}') == [Submission(b'{"n":1}', b'"x"')]


def test_an_envelope_may_carry_a_trace_context() -> None:
    message = b'{"id":1,"event":{"n":1},"traceparent":"00-ab-cd-01","tracestate":"a=1"}'
    (submission,) = split(message)

    assert submission == (
        b'{"n":1}',
        b"1",
        [("traceparent", b"00-ab-cd-01"), ("tracestate", b"a=1")],
    )


@pytest.mark.parametrize(
    "fields",
    [
        b'"traceparent":null',
        b'"traceparent":""',
        b'"tracestate":"a=1"',
        b'"traceparent":"%s"' % (b"x" * 257),
    ],
    ids=["null", "empty", "only a state", "far too long"],
)
def test_what_is_no_trace_context_is_left_out(fields: bytes) -> None:
    (submission,) = split(b'{"id":1,"event":{"n":1},%s}' % fields)

    assert list(submission.headers) == []
    assert submission.id_json == b"1"


def test_with_a_trace_context_that_is_no_text_it_is_an_event() -> None:
    message = b'{"id":1,"event":{"n":1},"traceparent":7}'

    assert split(message) == [Submission(message, None)]


@pytest.mark.parametrize(
    "event",
    [
        b'{"n":NaN}',
        b"Infinity",
        rb'{"a,b":"}]\"\ud83d"}',
        b'{"a":"\x01"}',
        b"[" * 20_000 + b"]" * 20_000,
        b"nonsense",
    ],
    ids=["nan", "infinity", "half a character", "control character", "deep", "nonsense"],
)
def test_an_envelope_whose_event_is_no_json_is_one_all_the_same(event: bytes) -> None:
    odd = b' {"event" : %b , "id":"a","traceparent":"00-ab"} ' % event
    fine = b'{"id":2,"event":{"n":1}}'
    as_sent = Submission(event, b'"a"', [("traceparent", b"00-ab")])

    assert split(odd) == [as_sent]
    assert split(b"[%b,%b]" % (odd, fine)) == [as_sent, Submission(b'{"n":1}', b"2")]


@pytest.mark.parametrize(
    "message",
    [
        b"[ERROR, disk full]",
        b'[{"id":1,"event":NaN}, disk full]',
        b'[{"id":1,"event":NaN}] disk full',
        b'[{"id":1,"event":"]',
        b'{"id":1,"event":NaN,"user":7}',
        b'{"id":1,"id":2,"event":NaN}',
        b'{"id":NaN,"event":1}',
        b'{"id":1,"event":}',
        b'{"id":1,"event":NaN}}',
    ],
    ids=repr,
)
def test_what_only_looks_like_an_envelope_is_one_event(message: bytes) -> None:
    assert split(message) == [Submission(message, None)]


def test_envelopes_and_plain_events_may_be_mixed() -> None:
    message = b'[{"id":1,"event":{"n":1}},{"n":2},[3]]'

    assert split(message) == [
        Submission(b'{"n":1}', b"1"),
        Submission(b'{"n":2}', None),
        Submission(b"[3]", None),
    ]


def test_numbers_keep_their_digits() -> None:
    message = b'[{"id":1,"event":{"n":123456789012345678901234567890,"x":0.10}}]'

    assert split(message)[0].value == b'{"n":123456789012345678901234567890,"x":0.10}'


def test_an_empty_batch_has_no_events() -> None:
    assert split(b" [] ") == []


def test_a_batch_of_too_many_events_is_refused() -> None:
    with pytest.raises(BadFrameError):
        split(b"[" + b",".join([b"1"] * 10_001) + b"]")


@given(st.binary(max_size=200))
def test_any_bytes_are_events_or_refused(message: bytes) -> None:
    try:
        submissions = split(message)
    except BadFrameError:
        return
    for submission in submissions:
        if submission.id_json is not None:
            orjson.loads(submission.id_json)


_ids = json_values.filter(lambda id_: len(orjson.dumps(id_)) <= MAX_ID_BYTES)


@given(st.lists(st.tuples(_ids, json_values), max_size=8))
def test_what_is_wrapped_comes_out_again(pairs: list[tuple[object, object]]) -> None:
    message = orjson.dumps([{"id": id_, "event": event} for id_, event in pairs])

    submissions = split(message)

    assert [orjson.loads(s.value) for s in submissions] == [event for _, event in pairs]
    assert [s.id_json and orjson.loads(s.id_json) for s in submissions] == [id_ for id_, _ in pairs]
