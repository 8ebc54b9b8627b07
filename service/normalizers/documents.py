"""Values to JSON documents of any kind: the loop that every JSON-like normalizer shares.

:func:`decode_document` says what is right, one value at a time, by orjson; :func:`decode_documents`
gives the same for a chunk at the price of the parser and little more.  Its parser is msgspec's,
which makes the same of a value in a sixth less time; what it refuses is given to orjson, which
has the last word.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeAlias, cast

import msgspec
import orjson

from service.events import Failure
from service.normalizers.base import TOMBSTONE, Limits, refused
from service.normalizers.limits import (
    deep_suspects,
    has_wide_integer,
    is_deeper_than,
    wide_integer_suspects,
)

Salvage: TypeAlias = Callable[[bytes, str], Any]
"""What a value that is no JSON becomes, given the parser's words."""

REFUSALS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec's decoder raises: its own kind, and where text or nesting is beyond it."""

_parse: Final = msgspec.json.Decoder().decode


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
    failure = beyond(value, limits)
    return data if failure is None else failure


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
    datas, salvaged = parse_documents(values, salvage)
    suspects = {
        *wide_integer_suspects(present, joined),
        *deep_suspects(present, datas, limits.max_depth, no_json=salvaged),
    }
    refuse_beyond(suspects - salvaged, present, datas, limits, salvage)
    return datas


def parse_documents(values: Sequence[bytes | None], salvage: Salvage) -> tuple[list[Any], set[int]]:
    """What the parser makes of ``values``, with no limits, and the places of what it refused."""
    datas: list[Any] = []
    salvaged: set[int] = set()
    rest = iter(values)
    while len(datas) < len(values):
        try:
            # extend keeps what it got before the iterator raised, and map has passed the culprit
            datas.extend(map(_parse, cast("Sequence[bytes]", rest)))
        except (*REFUSALS, TypeError):
            value = values[len(datas)]
            try:
                datas.append(orjson.loads(b"" if value is None else value))
            except orjson.JSONDecodeError as error:
                salvaged.add(len(datas))
                datas.append(TOMBSTONE if value is None else salvage(value, str(error)))
    return datas, salvaged


def refuse_beyond(
    suspects: Collection[int],
    values: Sequence[bytes],
    datas: list[Any],
    limits: Limits,
    salvage: Salvage,
) -> None:
    """Replace those of ``datas`` at ``suspects`` that are beyond the limits by their failures."""
    for index in suspects:
        if beyond(values[index], limits) is not None:
            # in full, as orjson may have found something else before
            datas[index] = decode_document(values[index], limits, salvage)


def beyond(value: bytes, limits: Limits) -> Failure | None:
    """The failure of valid JSON that holds what no parser here keeps, or is nested too deep."""
    if has_wide_integer(value):
        return refused("decode", "an integer is outside 64 bits")
    if is_deeper_than(value, limits.max_depth):
        return refused("decode", f"nested deeper than {limits.max_depth}")
    return None


def _too_large(value: bytes, limits: Limits) -> Any:
    return refused(
        "too_large", f"the value has {len(value)} bytes, more than {limits.max_value_bytes}"
    )
