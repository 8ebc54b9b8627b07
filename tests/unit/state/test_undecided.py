"""Changes of many calls are found as if all had been looked at."""

import sys
from collections.abc import Callable
from types import FrameType

from hypothesis import given, settings
from hypothesis import strategies as st

from service.events import Event, RecordBatch, SourceRecord
from service.state.keyed import Partition, Place
from service.state.table import Table
from service.state.undecided import FEW, Note, Undecided, is_no_event, still_there

BATCHES = [
    RecordBatch("in", n, [SourceRecord(b"", offset=at) for at in range(30)], next_offset=30)
    for n in range(2)
]
TABLES = [Table(lambda: 0.0, ttl_s=None, max_keys=100) for _ in range(2)]


class Plain:
    """What is promised, looked at one by one."""

    def __init__(self) -> None:
        self.notes: list[Note] = []

    def take(self, wanted: Callable[[Place], bool]) -> tuple[list[Note], list[Note]]:
        mine = [note for note in self.notes if wanted(note[0])]
        older = [
            other
            for at, other in enumerate(self.notes)
            if not wanted(other[0])
            and any(
                wanted(note[0]) and note[1] is other[1] and set(note[2]) & set(other[2])
                for note in self.notes[at:]
            )
        ]
        self.notes = [note for note in self.notes if not wanted(note[0])]
        return mine, older


def event(batch: int, index: int) -> Event:
    """A copy, as a typed handler gets."""
    return Event({}, b"k", 0, None, (), BATCHES[batch], index)


places = st.one_of(
    st.builds(event, st.integers(0, 1), st.integers(0, 29)),
    st.builds(Partition, st.just("in"), st.integers(0, 1)),
)
keys = st.sets(st.sampled_from("abcdefgh"), min_size=1, max_size=3)
notes = st.builds(
    lambda place, table, some: (
        place,
        TABLES[table],
        dict.fromkeys(sorted(some)),
        [None] * len(some),
    ),
    places,
    st.integers(0, 1),
    keys,
)
added = st.lists(notes, max_size=12)
steps = st.lists(
    st.tuples(added, st.one_of(st.none(), places), st.booleans()), min_size=1, max_size=25
)


def _is(place: Place, other: Place, *, partition_too: bool) -> bool:
    if is_no_event(other):
        whose = (place.topic, place.partition) == (other.topic, other.partition)
        return whose and (is_no_event(place) or partition_too)
    return (
        not is_no_event(place)
        and getattr(place, "batch", None) is getattr(other, "batch", None)
        and getattr(place, "index", None) == getattr(other, "index", None)
    )


@settings(max_examples=200, deadline=None)
@given(steps)
def test_what_is_taken_is_what_looking_at_all_finds(
    steps: list[tuple[list[Note], Place | None, bool]],
) -> None:
    undecided, plain = Undecided(), Plain()
    for more, place, partition_too in steps:
        for note in more:
            undecided.append(note)
            plain.notes.append(note)
        if place is None:
            mine, older = undecided.take_of_no_event()
            expected = plain.take(is_no_event)
        else:
            mine, older = undecided.take_for(place, partition_too=partition_too)
            expected = plain.take(
                lambda other, place=place, too=partition_too: _is(place, other, partition_too=too)  # type: ignore[misc]
            )

        assert list(map(id, mine)) == list(map(id, expected[0]))
        assert {*map(id, older)} == {*map(id, expected[1])}
        assert list(map(id, undecided.notes())) == list(map(id, plain.notes))
        assert bool(undecided) is bool(plain.notes)


def test_thousands_of_calls_under_way_are_not_looked_at_for_each_that_ends() -> None:
    calls = 0

    def count(_frame: FrameType, what: str, _argument: object) -> None:
        nonlocal calls
        calls += what == "call"

    undecided = Undecided()
    under_way: list[Place] = [Partition("in", 0), *(event(at % 2, at % 30) for at in range(2000))]
    undecided += [(place, TABLES[0], (f"{at}",), (None,)) for at, place in enumerate(under_way)]
    taken = 0
    sys.setprofile(count)
    try:
        for place in under_way:
            mine, _ = undecided.take_for(place, partition_too=False)
            taken += len(mine)
    finally:
        sys.setprofile(None)

    assert taken == len(under_way)
    assert calls < 20 * len(under_way)


def test_what_is_kept_of_notes_is_what_is_still_there() -> None:
    undecided = Undecided()
    made: list[Note] = [(event(0, at), TABLES[0], ("a",), (None,)) for at in range(2 * FEW)]
    undecided.extend(made)
    undecided.take_for(event(0, 3), partition_too=True)

    assert still_there(made[:6], undecided.notes()) == [*made[:3], *made[4:6]]
    undecided.forget()
    assert not undecided
    assert not undecided.indexed
