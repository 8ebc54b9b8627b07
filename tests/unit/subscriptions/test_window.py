"""What the window holds, and that it knows what it no longer holds."""

from hypothesis import given
from hypothesis import strategies as st

from service.subscriptions.encoding import EncodedEvent
from service.subscriptions.window import RecentWindow


@given(partitions=st.lists(st.integers(0, 2), max_size=60), max_items=st.integers(1, 10))
def test_everything_from_low_to_positions_is_there(partitions: list[int], max_items: int) -> None:
    window = RecentWindow({0: 0, 1: 0, 2: 0}, max_items=max_items, max_bytes=2**30)
    stored: dict[int, list[int]] = {0: [], 1: [], 2: []}

    for partition in partitions:
        offset = len(stored[partition]) * 2  # offsets have holes
        stored[partition].append(offset)
        window.append(EncodedEvent(partition, offset, None, b"x"))

    held = list(window.after(window.head))
    assert len(held) <= max_items
    assert window.end - window.head == len(held)
    for partition, offsets in stored.items():
        low, position = window.low[partition], window.positions[partition]
        assert [e.offset for e in held if e.partition == partition] == [
            offset for offset in offsets if low <= offset < position
        ]


def test_positions_move_past_what_holds_no_record() -> None:
    window = RecentWindow({0: 5}, max_items=9, max_bytes=9999)

    window.advance(0, 8)
    window.advance(0, 7)
    window.advance(3, 40)

    assert window.positions == {0: 8, 3: 40}
    assert window.low == {0: 5, 3: 40}


@given(
    taken=st.lists(st.integers(0, 2), max_size=40),
    missed=st.tuples(*[st.integers(0, 15)] * 3),
    max_items=st.integers(1, 40),
)
def test_number_of_skips_only_what_the_client_has(
    taken: list[int], missed: tuple[int, int, int], max_items: int
) -> None:
    window = RecentWindow({0: 0, 1: 0, 2: 0}, max_items=max_items, max_bytes=1 << 20)
    for partition in taken:
        offset = window.positions[partition]
        window.append(EncodedEvent(partition, offset, None, b"{}"))
    positions = {p: max(0, window.positions[p] - missed[p]) for p in range(3)}
    number = window.number_of(positions)

    wanted = [e for e in window.after(window.head) if e.offset >= positions[e.partition]]
    found = list(window.after(number))

    assert [e for e in found if e.offset >= positions[e.partition]] == wanted
    assert not found or found[0] == wanted[0]
