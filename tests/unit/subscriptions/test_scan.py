"""A scan that is shared tells everyone what a look of their own would."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from service.subscriptions.encoding import EncodedEvent
from service.subscriptions.scan import SharedScan
from service.subscriptions.window import RecentWindow


def _event(number: int) -> EncodedEvent:
    return EncodedEvent(0, number, None, orjson.dumps({"value": number}))


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(1, 9)),
            st.tuples(st.just("look"), st.integers(1, 9)),
            st.tuples(st.just("ask"), st.integers(0, 60)),
        ),
        max_size=30,
    ),
    stored=st.integers(0, 20),
    first=st.integers(0, 20),
    divisor=st.integers(1, 4),
)
def test_what_passes_is_what_a_look_of_ones_own_finds(
    steps: list[tuple[str, int]], stored: int, first: int, divisor: int
) -> None:
    window = RecentWindow({0: 0}, max_items=15, max_bytes=1 << 20)
    for number in range(stored):
        window.append(_event(number))
    first = min(max(first, window.head), window.end)
    scan = SharedScan(window, lambda value: value % divisor == 0, first)

    for kind, amount in steps:
        if kind == "append":
            for _ in range(amount):
                window.append(_event(window.end))
        elif kind == "look":
            scan.look(amount)
        number = max(amount, window.head)
        if not scan.serves(window, number):
            assert number < first
            continue
        known = {n for n in range(number, min(scan.upto, window.end)) if n % divisor == 0}
        assert [n for n, _ in scan.passing(number)] == sorted(known)
        assert all(event.offset == n for n, event in scan.passing(number))

    while scan.upto < window.end:
        scan.look(7)
    assert [n for n, _ in scan.passing(window.head)] == [
        n for n in range(max(first, window.head), window.end) if n % divisor == 0
    ]


def test_each_event_is_tested_once() -> None:
    window = RecentWindow({0: 0}, max_items=50, max_bytes=1 << 20)
    for number in range(20):
        window.append(_event(number))
    tested: list[int] = []

    def where(value: int) -> bool:
        tested.append(value)
        return True

    scan = SharedScan(window, where, 0)
    for _ in range(4):
        scan.look(9)
        assert [n for n, _ in scan.passing(0)] == list(range(scan.upto))

    assert tested == list(range(20))


def test_it_is_of_its_window_and_no_other() -> None:
    window = RecentWindow({0: 0}, max_items=50, max_bytes=1 << 20)
    other = RecentWindow({0: 0}, max_items=50, max_bytes=1 << 20)
    scan = SharedScan(window, bool, 0)

    assert scan.serves(window, 0)
    assert not scan.serves(other, 0)
