import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.consumers.llm import LINE_MAX_BYTES, ServerSentEvents, StreamBrokenError

_STREAM = (
    b': comment\r\ndata: {"a": 1}\r\n\r\nevent: x\ndata: one\ndata:two\n\n\n\ndata: [DONE]\n\n'
)
_EVENTS = [b'{"a": 1}', b"one\ntwo", b"[DONE]"]


@given(st.lists(st.integers(0, len(_STREAM)), max_size=12))
def test_events_do_not_depend_on_how_the_bytes_are_cut(cuts: list[int]) -> None:
    parser = ServerSentEvents()
    places = [0, *sorted(cuts), len(_STREAM)]

    events = [
        event
        for start, end in itertools.pairwise(places)
        for event in parser.feed(_STREAM[start:end])
    ]

    assert events == _EVENTS


def test_an_event_without_its_end_is_not_one_yet() -> None:
    parser = ServerSentEvents()

    assert parser.feed(b"data: half") == []
    assert parser.feed(b" and half\n\n") == [b"half and half"]


def test_a_line_without_an_end_is_given_up() -> None:
    with pytest.raises(StreamBrokenError):
        ServerSentEvents().feed(b"x" * (LINE_MAX_BYTES + 1))
