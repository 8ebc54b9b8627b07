"""Rules that the JSON parser does not enforce: wide integers and deep nesting.

The parser turns an integer outside 64 bits into a float without a word, and takes 1024 levels.
Looking for either in every value would cost half as much as parsing it.  So both are first looked
for in a whole chunk at once, by tests that may only err on the side of suspicion, and the exact
test runs on the suspects.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from gc import is_tracked
from itertools import accumulate, compress
from typing import Any

INT_MIN = -(2**63)
INT_MAX = 2**64 - 1

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SIGNED = bytes(0x30 if chr(code) in "-0123456789" else 0x20 for code in range(256))
_LONGEST_SURE_DIGITS = 20
_GROUP = 16

# The shortest integers out of range are 20 digits, or a minus and 19.  Either holds five
# consecutive samples at stride 4.  An ISO timestamp holds four at most, and so do 16 hexadecimal
# digits; at stride 3 every ISO timestamp would be a suspect.
_STRIDE = 4
_SAMPLES = b"00000"
_SAMPLED = _STRIDE * (len(_SAMPLES) - 1) + 1
_WIDE = re.compile(rb"-\d{19}|\d{20}")
_BEFORE = _STRIDE - 1  # how far before its first sample an integer can begin
_AFTER = 20  # and how far behind it the twentieth character can end


def wide_integer_suspects(values: Sequence[bytes], joined: bytes) -> Iterator[int]:
    """Indexes of values that hold 20 digits in a row, or 19 after a minus; ascending, each once.

    Args:
        values: The chunk.
        joined: ``values`` with one byte that is no digit between each two.
    """
    samples = joined[::_STRIDE].translate(_SIGNED)
    at = samples.find(_SAMPLES)
    if at < 0:
        return
    ends: list[int] | None = None
    while at >= 0:
        start = at * _STRIDE
        # most hits are samples of unrelated digits (long hexadecimal ids), and fall here
        if joined[start + 1 : start + _SAMPLED].isdigit() and _WIDE.search(
            joined, max(0, start - _BEFORE), start + _AFTER
        ):
            if ends is None:
                ends = list(accumulate(len(value) + 1 for value in values))
            index = bisect_right(ends, start)
            yield index
            at = samples.find(_SAMPLES, -(-ends[index] // _STRIDE))
        else:
            at = samples.find(_SAMPLES, at + 1)


def has_wide_integer(value: bytes) -> bool:
    """Whether valid JSON holds an integer outside [-2**63, 2**64), which no parser here keeps."""
    for token in _NUMBER.findall(_STRING.sub(b'""', value)):
        if len(token) < _LONGEST_SURE_DIGITS or not token.lstrip(b"-").isdigit():
            continue  # at most 19 characters always fit; a fraction or exponent is a float
        if len(token) > _LONGEST_SURE_DIGITS + 1 or not INT_MIN <= int(token) <= INT_MAX:
            return True
    return False


def deep_suspects(
    values: Sequence[bytes],
    datas: Sequence[Any],
    max_depth: int,
    *,
    no_json: AbstractSet[int] = frozenset(),
) -> list[int]:
    """Indexes of values that have enough brackets to be nested deeper than ``max_depth``.

    Args:
        values: The chunk.
        datas: What the parser made of it.
        max_depth: Deepest nesting that is allowed.
        no_json: Indexes where ``datas`` holds something that the parser did not make.

    CPython's collector does not track a dict that holds no containers, which makes "is it flat"
    one C call per record.  Where it does track them all (3.14), all are counted.
    """
    nested = list(compress(range(len(datas)), map(is_tracked, datas)))
    if no_json:
        nested = [index for index in nested if index not in no_json]
    return _with_many_openings(values, nested, max_depth)


def unread_deep_suspects(values: Sequence[bytes], joined: bytes, max_depth: int) -> list[int]:
    """:func:`deep_suspects` of JSON objects of which nobody has made anything.

    Args:
        values: The chunk; JSON objects.
        joined: All of it, in one.
        max_depth: Deepest nesting that is allowed.
    """
    # each has a bracket, which leaves this many to the one with the most
    if not _has_openings(joined, len(values) + max_depth):
        return []
    return _with_many_openings(values, range(len(values)), max_depth)


def _with_many_openings(
    values: Sequence[bytes], places: Sequence[int], max_depth: int
) -> list[int]:
    """Those of ``places``, all of which have a bracket at least, that have too many."""
    suspects: list[int] = []
    for start in range(0, len(places), _GROUP):
        group = places[start : start + _GROUP]
        if _has_openings(b"".join([values[place] for place in group]), len(group) + max_depth):
            suspects += [place for place in group if _has_openings(values[place], max_depth + 1)]
    return suspects


def is_deeper_than(value: bytes, max_depth: int) -> bool:
    """Whether valid JSON is nested deeper than ``max_depth``."""
    depth = 0
    for bracket in _STRING.sub(b"", value).translate(None, _NOT_BRACKETS):
        if bracket in b"[{":
            depth += 1
            if depth > max_depth:
                return True
        else:
            depth -= 1
    return False


def _has_openings(data: bytes, enough: int) -> bool:
    """Whether ``data`` has ``enough`` opening brackets, also those in text.

    To take out a byte that is rare is several times as fast as to count it, since CPython looks
    for it with ``memchr``; the bound keeps that from being slow where it is not rare.
    """
    found = len(data) - len(data.replace(b"{", b"", enough))
    if found < enough:
        found += len(data) - len(data.replace(b"[", b"", enough - found))
    return found >= enough
