from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.state.keyed import Codec
from service.state.records import (
    changelog_topic,
    decode_key,
    decode_value,
    encode_key,
    encode_value,
    serde,
)

_TOPICS = st.from_regex(r"[A-Za-z0-9._-]+", fullmatch=True)


@given(_TOPICS, st.text())
def test_topic_and_key_come_back_whatever_the_key_holds(topic: str, key: str) -> None:
    try:
        encoded = encode_key(topic, key)
    except UnicodeEncodeError:
        return  # a lone surrogate, which no decoder of ours lets in
    assert decode_key(encoded) == (topic, key)


def test_values_are_json() -> None:
    value = {"n": 1, "list": [1.5, None, "x"]}

    assert decode_value(encode_value(value)) == value


def test_a_number_that_is_not_finite_is_no_json_and_null_is() -> None:
    assert encode_value([None, 1.5]) == b"[null,1.5]"
    with pytest.raises(TypeError, match=r"not finite"):
        encode_value([None, float("nan")])


def test_a_codec_that_fails_has_made_no_json() -> None:
    def encode(value: Any) -> Any:
        return {"n": value.real, "left": value.left}

    with pytest.raises(TypeError, match=r"^its codec raised AttributeError\("):
        serde(Codec(encode, dict)).serialize(1)


@pytest.mark.parametrize("foreign", [b"no-topic", b"\xff/key"], ids=["no topic", "not UTF-8"])
def test_a_key_that_is_nobodys_is_refused(foreign: bytes) -> None:
    with pytest.raises(ValueError, match=r"topic|utf-8"):
        decode_key(foreign)


def test_a_changelog_is_named_for_all_that_it_belongs_to() -> None:
    assert (
        changelog_topic("group", "pipe", "handler", "jobs") == "group-pipe-handler-jobs-changelog"
    )
