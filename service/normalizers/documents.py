"""Values to JSON documents of any kind: the loop that every JSON-like normalizer shares.

:func:`decode_document` says what is right, one value at a time; :func:`decode_documents` gives the
same for a chunk at the price of the parser and little more.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import orjson

from service.normalizers.base import TOMBSTONE, Limits, refused
from service.normalizers.limits import (
    deep_suspects,
    has_wide_integer,
    is_deeper_than,
    wide_integer_suspects,
)

Salvage: TypeAlias = Callable[[bytes, str], Any]
"""What a value that is no JSON becomes, given the parser's words."""


def decode_document(value: bytes | None, limits: Limits, salvage: Salvage) -> Any:
    """What ``value`` holds: any JSON value, a failure, a tombstone, or what ``salvage`` makes."""
    if value is None:
        return TOMBSTONE
    if len(value) > limits.max_value_bytes:
        return _too_large(value, limits)
    try:
        data = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return salvage(value, str(error))
    if has_wide_integer(value):
        return refused("decode", "an integer is outside 64 bits")
    if is_deeper_than(value, limits.max_depth):
        return refused("decode", f"nested deeper than {limits.max_depth}")
    return data


def decode_documents(values: Sequence[bytes | None], limits: Limits, salvage: Salvage) -> list[Any]:
    """:func:`decode_document` of each of ``values``."""
    try:
        joined = b"\n".join(cast("Sequence[bytes]", values))
        present = cast("Sequence[bytes]", values)
    except TypeError:  # a tombstone
        present = [b"" if value is None else value for value in values]
        joined = b"\n".join(present)
    if len(joined) > limits.max_value_bytes and max(map(len, present)) > limits.max_value_bytes:
        # sizes are checked before anything is parsed, so such a chunk goes the long way
        return [decode_document(value, limits, salvage) for value in values]
    datas: list[Any] = []
    salvaged: set[int] = set()
    rest = iter(present)
    while len(datas) < len(present):
        try:
            # extend keeps what it got before the iterator raised, and map has passed the culprit
            datas.extend(map(orjson.loads, rest))
        except orjson.JSONDecodeError as error:
            index = len(datas)
            salvaged.add(index)
            value = values[index]
            datas.append(TOMBSTONE if value is None else salvage(value, str(error)))
    for index in wide_integer_suspects(present, joined):
        if index not in salvaged and has_wide_integer(present[index]):
            salvaged.add(index)
            datas[index] = refused("decode", "an integer is outside 64 bits")
    for index in deep_suspects(present, datas, limits.max_depth, no_json=salvaged):
        if is_deeper_than(present[index], limits.max_depth):
            datas[index] = refused("decode", f"nested deeper than {limits.max_depth}")
    return datas


def _too_large(value: bytes, limits: Limits) -> Any:
    return refused(
        "too_large", f"the value has {len(value)} bytes, more than {limits.max_value_bytes}"
    )
