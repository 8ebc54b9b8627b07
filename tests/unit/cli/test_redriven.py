from hypothesis import given
from hypothesis import strategies as st

from service.cli.redriven import Redriven


def test_nothing_is_known_at_first() -> None:
    redriven = Redriven(-1, "", begin=5)

    assert 4 not in [offset for offset in range(5, 20) if offset in redriven]
    assert 5 not in redriven
    assert redriven.commit() == (5, "")


def test_what_was_sent_in_order_is_an_offset_alone() -> None:
    redriven = Redriven(-1, "", begin=5)

    for offset in (5, 6, 7):
        redriven.add(offset)

    assert redriven.commit() == (8, "")


def test_what_the_topic_no_longer_has_counts_as_sent() -> None:
    assert 9 in Redriven(3, "", begin=10)


def test_foreign_metadata_is_ignored() -> None:
    redriven = Redriven(3, "somebody else's", begin=0)

    assert 2 in redriven
    assert 3 not in redriven


@given(
    st.integers(0, 50),
    st.sets(st.integers(0, 300)),
    st.integers(0, 400),
)
def test_what_was_sent_is_known_to_the_next_run(
    begin: int, offsets: set[int], later_begin: int
) -> None:
    first = Redriven(-1, "", begin=begin)
    sent = {offset for offset in offsets if offset >= begin}
    for offset in sent:
        assert first.has_room_for(offset)
        first.add(offset)

    second = Redriven(*first.commit(), begin=max(begin, later_begin))

    for offset in range(max(begin, later_begin), 310):
        assert (offset in second) == (offset in sent)


def test_room_ends_before_memory_would_be_lost() -> None:
    redriven = Redriven(-1, "", begin=0)

    offset = 1
    while redriven.has_room_for(offset):
        redriven.add(offset)
        offset += 97  # far apart: each is a run of its own

    assert offset > 97 * 100
    again = Redriven(*redriven.commit(), begin=0)
    assert all(sent in again for sent in range(1, offset - 96, 97))


def test_what_holds_no_letter_is_passed_over() -> None:
    redriven = Redriven(-1, "", begin=0)

    for offset in (1, 4, 5, 9):
        redriven.add(offset, {1: 0, 4: 2, 5: 5, 9: 8}[offset])

    assert [offset for offset in range(10) if offset not in redriven] == [6, 7]
    assert Redriven(*redriven.commit(), begin=0).commit() == redriven.commit()
