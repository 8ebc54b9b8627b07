"""How one key of a state looks in its changelog topic.

The record's key is ``<input topic>/<key>`` and its partition the input's partition, so that one
compacted topic serves every input topic of a pipeline; its value is JSON, and a tombstone says
that the key is gone.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import orjson

from service.errors import StateTypeError
from service.state.keyed import NOT_FINITE, Codec, all_finite

_SEPARATOR: Final = "/"
"""No topic's name contains it."""


def changelog_topic(group: str, pipeline: str, handler: str, state: str) -> str:
    """Name of the changelog of one state of one handler."""
    return f"{group}-{pipeline}-{handler}-{state}-changelog"


def encode_key(topic: str, key: str) -> bytes:
    """The key of the record about ``key`` of a partition of ``topic``."""
    return key_prefix(topic) + key.encode()


def key_prefix(topic: str) -> bytes:
    """How the keys of every record about ``topic`` begin."""
    return f"{topic}{_SEPARATOR}".encode()


def decode_key(encoded: bytes) -> tuple[str, str]:
    """Topic and key of a record.

    Raises:
        ValueError: If it is nobody's: not UTF-8, or without a topic.
    """
    topic, separator, key = encoded.decode().partition(_SEPARATOR)
    if not separator:
        raise ValueError("a changelog key without a topic")
    return topic, key


def encode_value(value: Any) -> bytes:
    """A value of JSON.

    Raises:
        TypeError: If it is none; a number that is not finite is none either.
    """
    encoded = orjson.dumps(value)
    # orjson writes NaN and infinities as null without a word
    if b"null" in encoded and not all_finite(value):
        raise StateTypeError(NOT_FINITE)
    return encoded


def decode_value(encoded: bytes) -> Any:
    """What :func:`encode_value` was given.

    Raises:
        ValueError: If it is no JSON.
    """
    return orjson.loads(encoded)


class Serde(NamedTuple):
    """How the values of one state become bytes and come back.

    Attributes:
        serialize: A value to what the changelog holds; ``TypeError`` if it is no JSON.
        deserialize: The bytes to an equal value; ``ValueError`` if they are damaged.
    """

    serialize: Callable[[Any], bytes]
    deserialize: Callable[[bytes], Any]


def serde(codec: Codec | None) -> Serde:
    """JSON, by way of ``codec`` if there is one."""
    if codec is None:
        return Serde(encode_value, decode_value)
    encode, decode = codec

    # A codec is not ours: whatever it raises is about this one value, and must not end what the
    # values of all keys go through together.
    def serialize(value: Any) -> bytes:
        try:
            encoded = encode(value)
        except Exception as exc:
            raise StateTypeError(f"its codec raised {exc!r}") from exc
        return encoded if type(encoded) is bytes else encode_value(encoded)

    def deserialize(stored: bytes) -> Any:
        value = decode_value(stored)
        try:
            return decode(value)
        except Exception as exc:
            raise ValueError(f"its codec: {exc!r}") from exc

    return Serde(serialize, deserialize)
