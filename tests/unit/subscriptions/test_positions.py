"""Where to resume, and what of it still exists."""

from hypothesis import given
from hypothesis import strategies as st

from service.subscriptions.encoding import EncodedEvent
from service.subscriptions.positions import before, clamp, covers


def test_what_is_still_to_come_decides_where_to_resume() -> None:
    events = [EncodedEvent(p, o, None, b"") for p, o in ((0, 7), (0, 9), (2, 4))]

    assert before(events, {0: 12, 1: 3, 2: 5}) == {0: 7, 1: 3, 2: 4}
    assert before([], {0: 12}) == {0: 12}


def test_a_window_covers_what_begins_at_or_after_it() -> None:
    assert covers({0: 5, 1: 0}, {0: 5, 1: 9})
    assert covers({0: 5}, {})
    assert not covers({0: 5, 1: 1}, {0: 9, 1: 0})


def test_what_is_gone_is_counted_and_what_never_was_is_the_end() -> None:
    resolved = clamp({0: 2, 1: 99, 7: 1}, {0: 5, 1: 0, 2: 3}, {0: 9, 1: 4, 2: 8})

    assert resolved.positions == {0: 5, 1: 4, 2: 8}
    assert resolved.lost == 3
    assert resolved.beyond


def test_a_partition_that_does_not_exist_is_beyond_the_log() -> None:
    resolved = clamp({0: 6, 7: 0}, {0: 5}, {0: 9})

    assert resolved.positions == {0: 6}
    assert resolved.beyond


def test_the_end_itself_is_not_beyond_it() -> None:
    assert not clamp({0: 9}, {0: 5}, {0: 9, 1: 4}).beyond


@given(
    bounds=st.dictionaries(
        st.integers(0, 5), st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=5
    ),
    wanted=st.dictionaries(st.integers(0, 9), st.integers(0, 2**63 - 1)),
)
def test_a_resolved_position_is_always_within_the_log(
    bounds: dict[int, tuple[int, int]], wanted: dict[int, int]
) -> None:
    beginning = {p: first for p, (first, _) in bounds.items()}
    end = {p: first + count for p, (first, count) in bounds.items()}

    resolved = clamp(wanted, beginning, end)

    assert resolved.positions.keys() == end.keys()
    assert all(beginning[p] <= at <= end[p] for p, at in resolved.positions.items())
    assert resolved.lost >= 0
