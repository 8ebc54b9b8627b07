"""The benchmarks must not believe a contender that loses, repeats, alters or reorders."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness.check import expected_fingerprint, fingerprint, problem_of
from benchmarks.harness.model import Job, Output
from benchmarks.jobs.log_events import alerts, canonical_alert, log_value, sequence_of_alert

JOB = Job(
    name="logs",
    title="",
    count=100,
    quick_count=10,
    record=lambda number: (None, log_value(number)),
    expected=lambda number: alerts(number, b"k"),
    canonical=canonical_alert,
    contenders=(),
    keyed=True,
    sequence=sequence_of_alert,
)
EXPECTED = expected_fingerprint(JOB, 100)


def _right() -> list[Output]:
    return [output for number in range(100) for output in JOB.expected(number)]


def test_exactly_the_expected_outputs_are_no_problem() -> None:
    assert problem_of(JOB, _right(), EXPECTED) == ""


def _lose(outputs: list[Output]) -> list[Output]:
    return outputs[1:]


def _repeat(outputs: list[Output]) -> list[Output]:
    return [*outputs, outputs[0]]


def _swap_one_for_another(outputs: list[Output]) -> list[Output]:
    return [*outputs[1:], outputs[-1]]


def _change_a_key(outputs: list[Output]) -> list[Output]:
    return [Output("out", b"other", outputs[0].value), *outputs[1:]]


def _reorder(outputs: list[Output]) -> list[Output]:
    return outputs[::-1]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (_lose, "29 outputs instead of 30"),
        (_repeat, "31 outputs instead of 30"),
        (_swap_one_for_another, "wrong content"),
        (_change_a_key, "wrong content"),
        (_reorder, "out of order"),
    ],
    ids=["lost", "repeated", "swapped", "rekeyed", "reordered"],
)
def test_spoiled_outputs_are_named(
    spoil: Callable[[list[Output]], list[Output]], problem: str
) -> None:
    assert problem in problem_of(JOB, spoil(_right()), EXPECTED)


@given(st.permutations(range(10)))
def test_a_fingerprint_does_not_depend_on_the_order(order: list[int]) -> None:
    outputs = [Output("t", None, b"%d" % number) for number in order]

    assert fingerprint(outputs, keyed=True) == fingerprint(_in_order(), keyed=True)


def _in_order() -> list[Output]:
    return [Output("t", None, b"%d" % number) for number in range(10)]


def test_a_key_counts_only_where_the_job_is_keyed() -> None:
    one, other = [Output("t", b"a", b"v")], [Output("t", b"b", b"v")]

    assert fingerprint(one, keyed=False) == fingerprint(other, keyed=False)
    assert fingerprint(one, keyed=True) != fingerprint(other, keyed=True)
