"""What a value must become, worked out anew: the standard library's parser and plain rules.

Slow and obvious on purpose; it shares no code with the normalizers that it judges.
"""

import json  # noqa: TID251 -- a second parser is the point: the service has orjson
from typing import Any

MAX_VALUE_BYTES = 262_144
MAX_DEPTH = 64


class RefusedError(Exception):
    """The value must be dead-lettered; carries the code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def parse(value: bytes) -> Any:
    """The JSON document in `value`.

    Raises:
        RefusedError: If it must not be taken for one.
    """
    if len(value) > MAX_VALUE_BYTES:
        raise RefusedError("too_large")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise RefusedError("decode") from None
    try:
        document = json.loads(
            text, parse_constant=_no_constant, parse_int=_whole, parse_float=_fraction
        )
    except (ValueError, RecursionError):
        raise RefusedError("decode") from None
    if _depth(document) > MAX_DEPTH or not _is_text(document):
        raise RefusedError("decode")
    return document


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _whole(digits: str) -> int:
    number = int(digits)
    if not -(2**63) <= number < 2**64:
        raise ValueError("beyond 64 bits")
    return number


def _fraction(digits: str) -> float:
    number = float(digits)
    if number in {float("inf"), float("-inf")}:
        raise ValueError("beyond a double")
    return number


def _depth(document: Any) -> int:
    deepest, level = 0, [document]
    while True:
        level = [each for each in level if isinstance(each, dict | list)]
        if not level:
            return deepest
        deepest += 1
        level = [
            inner for each in level for inner in (each.values() if isinstance(each, dict) else each)
        ]


def _is_text(document: Any) -> bool:
    """Whether every string could be written down again: JSON may escape half a character."""
    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
