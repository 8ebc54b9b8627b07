"""A dead-letter record tells everything and loses nothing that a topic would take."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.delivery import dead_letters
from service.delivery.dead_letters import (
    DeadLetterRecord,
    dead_letter,
    parse_dead_letter,
    record_bytes,
    redrive_headers,
    redrive_refusal,
)
from service.events import Failure, Headers

FAILURE = Failure("schema", "level: no string", stage="normalize", handler="alerts", attempts=3)


def dead(
    *,
    failure: Failure = FAILURE,
    key: bytes | None = b"key",
    value: bytes | None = b"value",
    headers: Headers = (("trace", b"1"), ("trace", b"2")),
    failed_at_ms: int = 1_795_000_000_123,
    max_bytes: int = 1_000_000,
) -> DeadLetterRecord:
    return dead_letter(
        failure,
        key=key,
        value=value,
        headers=headers,
        origin=("logs.raw", 3, 1234),
        failed_at_ms=failed_at_ms,
        max_bytes=max_bytes,
    )


def test_the_original_is_unchanged_and_ours_come_after_it() -> None:
    record = dead()

    assert (record.key, record.value) == (b"key", b"value")
    assert record.headers == (
        ("trace", b"1"),
        ("trace", b"2"),
        ("headrace-error", b"schema"),
        ("headrace-error-detail", b"level: no string"),
        ("headrace-stage", b"normalize"),
        ("headrace-handler", b"alerts"),
        ("headrace-attempts", b"3"),
        ("headrace-origin", b"logs.raw/3/1234"),
        ("headrace-failed-at", b"2026-11-18T11:06:40.123Z"),
    )


def test_it_is_read_back() -> None:
    info = parse_dead_letter(dead().headers)

    assert info is not None
    assert (info.code, info.detail, info.stage) == ("schema", "level: no string", "normalize")
    assert (info.handler, info.attempts, info.redrives) == ("alerts", 3, 0)
    assert info.origin == ("logs.raw", 3, 1234)
    assert info.failed_at == "2026-11-18T11:06:40.123Z"
    assert info.complete


def test_a_tombstone_and_a_missing_key_stay_what_they_are() -> None:
    record = dead(key=None, value=None)

    assert (record.key, record.value) == (None, None)


def test_a_long_detail_with_line_breaks_is_one_line_of_a_kibibyte() -> None:
    failure = Failure("handler", "no\r\nERROR forged " + "é" * 2000, stage="handle")

    detail = dict(dead(failure=failure).headers)["headrace-error-detail"]

    assert detail.startswith(b"no ERROR forged ")
    assert len(detail) <= 1024


def test_an_oversize_value_is_cut_and_hashed() -> None:
    value = bytes(range(256)) * 100

    record = dead(value=value, max_bytes=4096)

    headers = dict(record.headers)
    assert record.value is not None
    assert value.startswith(record.value)
    assert headers["headrace-value-sha256"] == sha256(value).hexdigest().encode()
    assert headers["headrace-value-bytes"] == b"25600"
    assert headers["trace"] == b"2"
    assert record_bytes(record.key, record.value, record.headers) == 4096


def test_oversize_headers_go_before_the_record_is_lost() -> None:
    record = dead(headers=[("junk", b"x" * 100)] * 100, max_bytes=4096)

    headers = dict(record.headers)
    assert "junk" not in headers
    assert headers["headrace-headers-dropped"] == b"100"
    assert record.value == b"value"


def test_an_oversize_key_is_cut_last_and_hashed() -> None:
    key = b"k" * 10_000

    record = dead(key=key, value=b"v" * 10_000, max_bytes=4096)

    assert record.key is not None
    assert key.startswith(record.key)
    assert dict(record.headers)["headrace-key-sha256"] == sha256(key).hexdigest().encode()
    assert record.value == b""


@settings(max_examples=300)
@given(
    key=st.one_of(st.none(), st.binary(max_size=6000)),
    value=st.one_of(st.none(), st.binary(max_size=6000)),
    headers=st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=2000)), max_size=5),
    detail=st.text(max_size=2000),
    failed_at_ms=st.integers(-(1 << 63), (1 << 63) - 1),
)
def test_it_always_fits_and_always_reads_back(
    key: bytes | None,
    value: bytes | None,
    headers: list[tuple[str, bytes]],
    detail: str,
    failed_at_ms: int,
) -> None:
    failure = Failure("handler", detail, stage="handle", handler="alerts")

    record = dead(
        failure=failure,
        key=key,
        value=value,
        headers=headers,
        failed_at_ms=failed_at_ms,
        max_bytes=4096,
    )

    info = parse_dead_letter(record.headers)
    assert record_bytes(record.key, record.value, record.headers) <= 4096
    assert info is not None
    assert (info.code, info.origin) == ("handler", ("logs.raw", 3, 1234))
    assert info.complete == (
        (record.key, record.value, list(record.headers[: len(headers)])) == (key, value, headers)
    )
    assert (record.key is None, record.value is None) == (key is None, value is None)


@settings(max_examples=300)
@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from(sorted(dead_letters._OF_A_DEATH | {"headrace-redrives", "other"})),
            st.binary(max_size=30),
        )
    )
)
def test_reading_any_headers_never_raises(headers: list[tuple[str, bytes]]) -> None:
    info = parse_dead_letter(headers)

    assert (info is not None) == ("headrace-error" in dict(headers))
    redrive_headers(headers)


@pytest.mark.parametrize(
    "origin", [b"", b"logs.raw", b"logs.raw/1", b"logs.raw/1/x", b"/1/2", b"t/1/" + b"9" * 5000]
)
def test_an_unreadable_origin_is_none_and_not_redriven(origin: bytes) -> None:
    info = parse_dead_letter([("headrace-error", b"decode"), ("headrace-origin", origin)])

    assert info is not None
    assert info.origin is None
    assert redrive_refusal(info) == "its origin is unreadable"


def test_an_original_with_headers_of_an_earlier_death_keeps_them_and_is_complete() -> None:
    first = dead(value=b"v" * 10_000, max_bytes=4096)

    second = dead(value=first.value, headers=first.headers)

    info = parse_dead_letter(second.headers)
    assert info is not None
    assert info.complete
    assert redrive_headers(second.headers) == (*first.headers, ("headrace-redrives", b"1"))


def test_a_redriven_record_is_the_original_with_a_count() -> None:
    assert redrive_headers(dead().headers) == (
        ("trace", b"1"),
        ("trace", b"2"),
        ("headrace-redrives", b"1"),
    )


def test_a_record_that_dies_again_and_again_is_not_redriven_for_ever() -> None:
    headers: Headers = (("trace", b"1"),)
    refusals = []

    for _ in range(4):
        headers = dead(headers=headers).headers
        info = parse_dead_letter(headers)
        assert info is not None
        refusals.append(redrive_refusal(info, max_redrives=3))
        headers = redrive_headers(headers)

    assert refusals[:3] == [None, None, None]
    assert refusals[3] == "sent back as often as --max-redrives allows (3), and dead again"


def test_a_letter_that_stands_for_an_unreadable_batch_is_not_redriven() -> None:
    letter = dead_letter(
        Failure("batch", "checksum differs", stage="fetch"),
        key=None,
        value=None,
        headers=(),
        origin=("logs.raw", 0, 7),
        failed_at_ms=1000,
        max_bytes=100_000,
    )
    info = parse_dead_letter(letter.headers)

    assert info is not None
    assert redrive_refusal(info) == (
        "the stored batch could not be read, so there is no original here"
    )


def test_a_record_that_was_cut_is_not_redriven() -> None:
    info = parse_dead_letter(dead(value=b"v" * 10_000, max_bytes=4096).headers)

    assert info is not None
    assert redrive_refusal(info) is not None
