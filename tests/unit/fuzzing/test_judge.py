"""The judge of the fuzz runs notices each way in which a service could be wrong."""

from typing import Any

import pytest

from tests.fuzzing.judge import judge
from tests.fuzzing.model import Batch, Case, Damage, Fate
from tests.kafka.client import Record

GOOD = Case(kind="good", key=b"k", value=b'{"n":1}', fate=Fate(({"n": 1},)))
BAD = Case(kind="bad", key=b"k", value=b"x", headers=(("h", b"v"),), fate=Fate(code="decode"))
BATCHES = [
    Batch(partition=0, first_offset=0, codec=0, cases=[GOOD, BAD, GOOD]),
    Batch(partition=0, first_offset=3, codec=0, cases=[GOOD, GOOD], damage=Damage.CODEC),
]


def _output(offset: int, **changed: Any) -> Record:
    identity = b"p/h/in/0/%d-0" % offset
    fields = {"key": b"k", "value": b'{"n":1}', "headers": (("headrace-id", identity),)}
    return Record("out", 0, offset, 0, **{**fields, **changed})


def _letter(offset: int, code: bytes, **changed: Any) -> Record:
    ours = (("headrace-error", code), ("headrace-origin", b"in/0/%d" % offset))
    fields: dict[str, Any] = {"key": b"k", "value": b"x", "headers": (("h", b"v"), *ours)}
    return Record("dead", 0, offset, 0, **{**fields, **changed})


OUTPUTS = [_output(0), _output(2)]
LETTERS = [_letter(1, b"decode"), _letter(3, b"batch", key=None, value=None)]
COMMITTED = {0: 5}


def _broken(outputs: list[Record], letters: list[Record], committed: dict[int, int]) -> set[str]:
    return set(judge("in", BATCHES, outputs, letters, committed).counts)


def test_what_is_right_is_found_right() -> None:
    assert _broken(OUTPUTS, LETTERS, COMMITTED) == set()


@pytest.mark.parametrize(
    ("outputs", "letters", "committed", "rule"),
    [
        (OUTPUTS[:1], LETTERS, COMMITTED, "outputs"),
        ([*OUTPUTS, OUTPUTS[1]], LETTERS, COMMITTED, "outputs"),
        ([OUTPUTS[0], _output(2, value=b'{"n":2}')], LETTERS, COMMITTED, "outputs"),
        ([OUTPUTS[0], _output(2, key=b"other")], LETTERS, COMMITTED, "key"),
        (OUTPUTS[::-1], LETTERS, COMMITTED, "order"),
        ([*OUTPUTS, _output(9)], LETTERS, COMMITTED, "comes from nowhere"),
        ([*OUTPUTS, _output(4)], LETTERS, COMMITTED, "output of a damaged batch"),
        ([*OUTPUTS, _output(2, headers=())], LETTERS, COMMITTED, "without origin"),
        (OUTPUTS, LETTERS[1:], COMMITTED, "dead letters"),
        (OUTPUTS, [*LETTERS, LETTERS[0]], COMMITTED, "dead letters"),
        (OUTPUTS, [_letter(1, b"schema"), LETTERS[1]], COMMITTED, "dead letters"),
        (OUTPUTS, [_letter(1, b"decode", value=b"y"), LETTERS[1]], COMMITTED, "not the original"),
        (OUTPUTS, LETTERS[:1], COMMITTED, "damaged batch"),
        (OUTPUTS, LETTERS, {0: 4}, "not committed"),
        (OUTPUTS, LETTERS, {}, "not committed"),
    ],
    ids=[
        "lost",
        "repeated",
        "changed",
        "under another key",
        "out of order",
        "invented",
        "of a damaged batch",
        "without its id",
        "bad one lost",
        "bad one repeated",
        "wrong code",
        "bytes changed",
        "damaged batch lost",
        "one not committed",
        "nothing committed",
    ],
)
def test_what_is_wrong_is_found(
    outputs: list[Record], letters: list[Record], committed: dict[int, int], rule: str
) -> None:
    assert rule in _broken(outputs, letters, committed)
