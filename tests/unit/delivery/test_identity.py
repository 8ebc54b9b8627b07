"""A result has the same name after any restart, and no two results share one."""

import doctest

from hypothesis import given, settings
from hypothesis import strategies as st

from service.delivery import identity as identity_module
from service.delivery.identity import headrace_id, id_prefix

Identity = tuple[str, str, str, int, int, int]

identities = st.tuples(
    st.text(min_size=1, max_size=12),  # pipeline
    st.text(max_size=12),  # handler
    st.text(min_size=1, max_size=12),  # topic
    st.integers(0, (1 << 31) - 1),  # partition
    st.integers(0, (1 << 63) - 1),  # offset
    st.integers(0, 1_000_000),  # index
)


def id_of(identity: Identity) -> bytes:
    pipeline, handler, topic, partition, offset, index = identity
    return headrace_id(id_prefix(pipeline, handler, topic, partition), offset, index)


def test_the_example_in_the_docstring_holds() -> None:
    results = doctest.testmod(identity_module)

    assert results.attempted > 0
    assert results.failed == 0


@settings(max_examples=500)
@given(left=identities, right=identities)
def test_different_results_have_different_ids(left: Identity, right: Identity) -> None:
    assert (id_of(left) == id_of(right)) == (left == right)


def test_names_with_separators_do_not_run_together() -> None:
    assert id_prefix("a/b", "c", "t", 0) != id_prefix("a", "b/c", "t", 0)
