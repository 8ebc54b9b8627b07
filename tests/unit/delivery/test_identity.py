"""A result has the same name after any restart, and no two results share one."""

import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.delivery import identity as identity_module
from service.delivery.identity import Identity, headrace_id, id_prefix, parse_id

identities = st.builds(
    Identity,
    pipeline=st.text(min_size=1, max_size=12),
    handler=st.text(max_size=12),
    topic=st.text(min_size=1, max_size=12),
    partition=st.integers(0, (1 << 31) - 1),
    offset=st.integers(0, (1 << 63) - 1),
    index=st.integers(0, 1_000_000),
)


def id_of(identity: Identity) -> bytes:
    prefix = id_prefix(identity.pipeline, identity.handler, identity.topic, identity.partition)
    return headrace_id(prefix, identity.offset, identity.index)


def test_the_example_in_the_docstring_holds() -> None:
    results = doctest.testmod(identity_module)

    assert results.attempted > 0
    assert results.failed == 0


@settings(max_examples=500)
@given(identity=identities)
def test_the_parts_come_back(identity: Identity) -> None:
    assert parse_id(id_of(identity)) == identity


@settings(max_examples=500)
@given(left=identities, right=identities)
def test_different_results_have_different_ids(left: Identity, right: Identity) -> None:
    assert (id_of(left) == id_of(right)) == (left == right)


def test_names_with_separators_do_not_run_together() -> None:
    assert id_prefix("a/b", "c", "t", 0) != id_prefix("a", "b/c", "t", 0)


@settings(max_examples=300)
@given(value=st.binary())
def test_parsing_never_raises(value: bytes) -> None:
    parse_id(value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"logs/alerts/logs.raw/3/1234", id="no-index"),
        pytest.param(b"logs/alerts/logs.raw/x/1234-0", id="partition-is-no-number"),
        pytest.param(b"logs/alerts/logs.raw/3/1234-0\n", id="trailing-newline"),
        pytest.param(b"logs/alerts/a/b/3/1234-0", id="too-many-parts"),
        pytest.param(b"logs/alerts/logs.raw/3/-1-0", id="negative-offset"),
    ],
)
def test_a_foreign_id_is_not_taken_for_ours(value: bytes) -> None:
    assert parse_id(value) is None
