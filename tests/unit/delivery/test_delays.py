"""What travels with a delayed record, and what is made of headers that are not ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import Event, PermanentError, handler
from service.delivery.delays import attempts_of, not_before_ms, original_of, rung_of
from service.testing.harness import Harness, pipeline_of

LONG = b"9" * 5000
"""More digits than Python makes a number of."""


def test_the_origin_of_a_record_is_read_from_the_last_header_of_that_name() -> None:
    own = [("headrace-origin", b"other/1/2"), ("a", b"1"), ("a", b"2")]
    headers = [*own, ("headrace-origin", b"logs.raw/3/1234"), ("headrace-rung", b"1")]

    assert original_of(headers) == (own, ("logs.raw", 3, 1234))


def test_only_a_record_of_a_delay_topic_has_an_origin() -> None:
    letter = [("headrace-rung", b"1"), ("headrace-origin", b"other/1/2")]

    assert original_of(letter) == (letter, None)


@pytest.mark.parametrize(
    "origin",
    [
        b"", b"logs", b"logs/1", b"/1/2", b"logs/-1/2", b"logs/1/x", "logs/1/٣".encode(),
        b"logs/1/" + LONG, b"logs/" + LONG + b"/1", b"t" * 250 + b"/1/2",
    ],
    ids=[
        "empty", "a topic", "no offset", "no topic", "negative", "no number", "other digits",
        "an endless offset", "an endless partition", "no topic of Kafka's",
    ],
)  # fmt: skip
def test_what_is_no_origin_is_none(origin: bytes) -> None:
    headers = [("headrace-origin", origin), ("headrace-rung", b"1")]

    assert original_of(headers) == (headers, None)


def test_numbers_without_an_end_are_no_numbers() -> None:
    headers = [(f"headrace-{name}", LONG) for name in ("not-before", "rung", "attempts")]

    assert (not_before_ms(headers), rung_of(headers), attempts_of(headers)) == (0, 0, 0)


@given(st.binary())
def test_no_header_is_an_error(content: bytes) -> None:
    headers = [
        (f"headrace-{name}", content) for name in ("not-before", "attempts", "origin", "rung")
    ]

    assert not_before_ms(headers) >= 0
    assert attempts_of(headers) >= 0
    assert original_of(headers)


@handler("delays.fails")
def fails(event: Event) -> None:
    raise PermanentError(f"{event.data} is not wanted")


async def test_headers_that_anybody_may_write_keep_no_record_from_its_dead_letter_topic() -> None:
    async with Harness(pipeline_of(fails)) as service:
        await service.send({"n": 1}, headers=[("headrace-origin", b"logs/0/" + LONG)])
        await service.settle()
        (letter,) = service.dead_letters()

    origins = [content for name, content in letter.record.headers if name == "headrace-origin"]
    assert letter.code == "handler"
    assert origins == [b"logs/0/" + LONG, b"input/0/0"]
