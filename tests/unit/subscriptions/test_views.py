"""Each view is compared with the obvious model: a list per client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.subscriptions.encoding import OVERHEAD_BYTES, EncodedEvent
from service.subscriptions.views import LatestView, RingView

UNBOUNDED = 2**40


def event(offset: int, key: bytes | None = None, size: int = 2) -> EncodedEvent:
    return EncodedEvent(0, offset, key, b"x" * size)


def offsets(events: list[EncodedEvent]) -> list[int]:
    return [each.offset for each in events]


def test_a_client_gets_what_came_after_its_cursor() -> None:
    view = RingView()
    for offset in range(5):
        view.append(event(offset))

    taken = view.take(2, UNBOUNDED)

    assert (offsets(taken.events), taken.cursor, taken.dropped) == ([2, 3, 4], 5, 0)


def test_the_oldest_events_go_when_there_are_too_many_and_are_counted() -> None:
    view = RingView(max_items=3)
    for offset in range(10):
        view.append(event(offset))

    taken = view.take(1, UNBOUNDED)

    assert (offsets(taken.events), taken.dropped) == ([7, 8, 9], 6)


def test_the_oldest_events_go_when_they_hold_too_many_bytes() -> None:
    view = RingView(max_bytes=3 * (100 + OVERHEAD_BYTES))
    for offset in range(5):
        view.append(event(offset, size=100))

    taken = view.take(0, UNBOUNDED)

    assert (offsets(taken.events), taken.dropped) == ([2, 3, 4], 2)


@pytest.mark.parametrize("view", [RingView, LatestView], ids=["ring", "latest"])
def test_an_event_above_the_bound_is_kept_until_the_next_comes_and_costs_no_other(
    view: type[RingView | LatestView],
) -> None:
    small_then_large = view(max_bytes=1000)
    small_then_large.append(event(0))
    small_then_large.append(event(1, size=5000))
    and_another = view(max_bytes=1000)
    and_another.append(event(0, size=5000))
    and_another.append(event(1))

    taken = small_then_large.take(0, UNBOUNDED)
    too_late = and_another.take(0, UNBOUNDED)

    assert (offsets(taken.events), taken.cursor, taken.dropped) == ([0, 1], 2, 0)
    assert (offsets(too_late.events), too_late.dropped) == ([1], 1)


def test_a_portion_is_bounded_but_never_empty() -> None:
    view = RingView()
    for offset in range(4):
        view.append(event(offset, size=1000))

    small = view.take(0, 10)
    two = view.take(0, 2 * (1000 + OVERHEAD_BYTES))

    assert offsets(small.events) == [0]
    assert (offsets(two.events), two.cursor) == ([0, 1], 2)


def test_what_every_client_has_is_forgotten() -> None:
    view = RingView()
    for offset in range(4):
        view.append(event(offset))

    view.trim(3)

    assert view.head == 3
    assert offsets(view.take(3, UNBOUNDED).events) == [3]


def test_conflation_keeps_the_latest_of_each_key_in_order_of_arrival() -> None:
    view = LatestView()
    for offset, key in enumerate([b"a", b"b", b"a", None, b"b", b"c", None]):
        view.append(event(offset, key))

    taken = view.take(0, UNBOUNDED)

    assert offsets(taken.events) == [2, 3, 4, 5, 6]
    assert (taken.cursor, taken.dropped) == (7, 0)


def test_too_many_keys_drop_the_oldest_and_are_counted() -> None:
    view = LatestView(max_items=2)
    for offset in range(5):
        view.append(event(offset, b"%d" % offset))

    taken = view.take(1, UNBOUNDED)

    assert (offsets(taken.events), taken.dropped) == ([3, 4], 2)


@given(
    appends=st.lists(st.integers(0, 4), max_size=60),
    takes=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 5)), max_size=20),
    max_items=st.integers(1, 10),
)
def test_whatever_is_taken_when_what_is_not_got_is_counted(
    appends: list[int], takes: list[tuple[int, int]], max_items: int
) -> None:
    view = RingView(max_items=max_items)
    got, dropped, cursor = [], 0, 0
    at = dict(takes)

    for offset, key in enumerate(appends):
        view.append(event(offset, b"%d" % key))
        if offset in at:
            taken = view.take(cursor, at[offset] * (2 + OVERHEAD_BYTES))
            got += offsets(taken.events)
            dropped += taken.dropped
            cursor = taken.cursor
            view.trim(cursor)
    taken = view.take(cursor, UNBOUNDED)
    got += offsets(taken.events)

    assert len(got) + dropped + taken.dropped == len(appends)
    assert got == sorted(set(got))


@given(
    keys=st.lists(st.sampled_from([b"a", b"b", b"c", b"d", None]), max_size=60),
    pauses=st.sets(st.integers(0, 60)),
)
def test_conflation_ends_with_the_latest_of_every_key(
    keys: list[bytes | None], pauses: set[int]
) -> None:
    view = LatestView(max_items=100)
    seen: dict[bytes | None, int] = {}
    keyless, cursor = [], 0

    def take() -> None:
        nonlocal cursor
        taken = view.take(cursor, UNBOUNDED)
        assert taken.dropped == 0
        for each in taken.events:
            assert each.offset > seen.get(each.key, -1)
            seen[each.key] = each.offset
            if each.key is None:
                keyless.append(each.offset)
        cursor = taken.cursor
        view.trim(cursor)

    for offset, key in enumerate(keys):
        view.append(event(offset, key))
        if offset in pauses:
            take()
    take()

    assert seen == {key: offset for offset, key in enumerate(keys)}
    assert keyless == [offset for offset, key in enumerate(keys) if key is None]
