from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import Event, handler
from service.events import Failure, Headers, SourceRecord
from service.normalizers import TOMBSTONE, CloudEventsNormalizer, Limits, Normalized
from service.testing.harness import Harness, pipeline_of

BINARY = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"1"),
    ("ce_source", b"/s"),
    ("ce_type", b"log.created"),
)
STRUCTURED = (("content-type", b"application/cloudevents+json; charset=utf-8"),)
ENVELOPE = {"specversion": "1.0", "id": "1", "source": "/s", "type": "log.created"}


def decode(value: bytes | None, headers: Headers) -> Any:
    (data,) = CloudEventsNormalizer().decode_many([SourceRecord(value, headers=headers)])
    return data


def code_of(data: Any) -> str:
    assert isinstance(data, Failure)
    return data.code


def test_a_binary_event_has_its_type_in_a_header_and_its_data_as_value() -> None:
    event = decode(b'{"a": 1}', (*BINARY, ("content-type", b"application/json")))

    assert isinstance(event, Normalized)
    assert (event.data, event.type) == ({"a": 1}, "log.created")


def test_binary_data_of_another_media_type_stays_bytes() -> None:
    event = decode(b"\x00\x01", (*BINARY, ("content-type", b"image/png")))

    assert event.data == b"\x00\x01"


def test_a_structured_event_looks_like_a_binary_one() -> None:
    event = decode(
        orjson.dumps({**ENVELOPE, "subject": "x", "flag": True, "data": {"a": 1}}), STRUCTURED
    )

    assert (event.data, event.type) == ({"a": 1}, "log.created")
    assert dict(event.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"1",
        "ce_source": b"/s",
        "ce_type": b"log.created",
        "ce_subject": b"x",
        "ce_flag": b"true",
    }


def test_structured_data_may_be_base64() -> None:
    event = decode(orjson.dumps({**ENVELOPE, "data_base64": "AAE="}), STRUCTURED)

    assert event.data == b"\x00\x01"


@pytest.mark.parametrize("missing", ["specversion", "id", "source", "type"])
def test_a_missing_attribute_is_a_schema_failure(missing: str) -> None:
    envelope = {name: value for name, value in ENVELOPE.items() if name != missing}
    headers = [(name, value) for name, value in BINARY if name != f"ce_{missing}"]

    assert code_of(decode(orjson.dumps(envelope), STRUCTURED)) == "schema"
    assert code_of(decode(b"{}", headers)) == "schema"


def test_an_unknown_version_is_a_version_failure() -> None:
    envelope = orjson.dumps({**ENVELOPE, "specversion": "2.0"})

    assert code_of(decode(envelope, STRUCTURED)) == "version"
    assert code_of(decode(b"{}", (("ce_specversion", b"0.3"), *BINARY[1:]))) == "version"


@pytest.mark.parametrize(
    ("value", "headers", "code"),
    [
        (b"{", STRUCTURED, "decode"),
        (b"[]", STRUCTURED, "schema"),
        (b"{", BINARY, "decode"),
        (b'{"a": 18446744073709551616}', BINARY, "decode"),
        (b"{}", (("ce_id", b"\xff"),), "decode"),
        (b"[]", (("content-type", b"application/cloudevents-batch+json"),), "schema"),
        (b"<e/>", (("content-type", b"application/cloudevents+xml"),), "schema"),
        (orjson.dumps({**ENVELOPE, "data_base64": "?"}), STRUCTURED, "schema"),
        (orjson.dumps({**ENVELOPE, "data_base64": 1}), STRUCTURED, "schema"),
        (orjson.dumps({**ENVELOPE, "data": 1, "data_base64": ""}), STRUCTURED, "schema"),
        (orjson.dumps({**ENVELOPE, "type": 3}), STRUCTURED, "schema"),
    ],
    ids=[
        "broken envelope",
        "an array",
        "broken data",
        "a wide integer",
        "a header that is no UTF-8",
        "a batch",
        "another format",
        "no base64",
        "a number for base64",
        "data twice",
        "a number for the type",
    ],
)
def test_what_is_wrong_with_an_event_has_its_code(
    value: bytes, headers: Headers, code: str
) -> None:
    assert code_of(decode(value, headers)) == code


def test_headers_that_are_not_of_the_event_may_be_any_bytes() -> None:
    trace = ("trace-bin", b"\xff\x00")

    assert decode(b'{"n": 1}', (*BINARY, trace)).data == {"n": 1}
    envelope = orjson.dumps({**ENVELOPE, "data": {"n": 1}})
    assert decode(envelope, (*STRUCTURED, trace)).data == {"n": 1}


def test_a_member_that_is_null_is_one_that_is_not_there() -> None:
    envelope = orjson.dumps({**ENVELOPE, "data": {"n": 1}, "data_base64": None, "subject": None})

    assert decode(envelope, STRUCTURED).data == {"n": 1}


def test_a_null_value_is_a_tombstone_unless_it_is_an_event_without_data() -> None:
    assert decode(None, ()) is TOMBSTONE
    assert decode(None, STRUCTURED) is TOMBSTONE
    assert decode(None, BINARY).data is None


def test_a_large_value_is_refused_in_every_mode() -> None:
    small = CloudEventsNormalizer(Limits(max_value_bytes=10))
    headers = [BINARY, (*BINARY, ("content-type", b"image/png")), STRUCTURED]

    datas = small.decode_many([SourceRecord(b"x" * 11, headers=given) for given in headers])

    assert [code_of(data) for data in datas] == ["too_large"] * 3


_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["content-type", "ce_specversion", "ce_type", "ce_id", "ce_source", "x"]),
        st.sampled_from([b"1.0", b"application/cloudevents+json", b"image/png", b""])
        | st.binary(max_size=5),
    ),
    max_size=6,
)


@given(st.none() | st.binary(max_size=40), _HEADERS)
def test_decoding_never_raises(value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
    decode(value, headers)


@handler("cloudevents.told")
def told(event: Event) -> dict[str, Any]:
    headers = {name: value.decode() for name, value in event.headers if name != "content-type"}
    return {"data": event.data, "type": event.type, "headers": headers}


@handler("cloudevents.told_later")
async def told_later(event: Event) -> dict[str, Any]:
    return told(event)


@pytest.mark.parametrize("use", [told, told_later])
async def test_a_handler_sees_no_difference_between_both_modes(use: Any) -> None:
    config = pipeline_of(use)
    config["pipelines"]["test"]["normalizer"] = "cloudevents"
    async with Harness(config) as service:
        await service.send(b'{"a": 1}', headers=BINARY)
        await service.send({**ENVELOPE, "data": {"a": 1}}, headers=STRUCTURED)
        await service.send(b'{"a": 1}', headers=BINARY)
        await service.settle()

        first, second, third = service.outputs()
    assert first == second == third
    assert first["type"] == "log.created"
    assert first["headers"]["ce_source"] == "/s"
