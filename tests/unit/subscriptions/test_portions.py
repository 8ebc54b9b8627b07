"""What is kept of what those who catch up get next."""

from service.subscriptions.encoding import EncodedEvent
from service.subscriptions.portions import KEPT_BYTES, Place, Portion, Portions
from service.subscriptions.positions import Positions


def _place(at: int, partitions: int) -> Place:
    return Place(
        "source", b"null", latest_only=False, positions=tuple((p, at) for p in range(partitions))
    )


def _portion(at: int, partitions: int, *, size_bytes: int = 0) -> Portion:
    following: Positions = dict.fromkeys(range(partitions), at + 1)
    events = [EncodedEvent(0, at, None, b"x" * size_bytes)] if size_bytes else []
    return Portion(events, following, latest_only=False)


def _kept(partitions: int, size_bytes: int, count: int) -> list[int]:
    portions = Portions()
    for at in range(count):
        portions.keep(_place(at, partitions), _portion(at, partitions, size_bytes=size_bytes))
    return [at for at in range(count) if portions.get(_place(at, partitions)) is not None]


def test_the_last_ones_are_kept_up_to_their_size() -> None:
    kept = _kept(1, 100_000, 100)

    assert kept == list(range(100 - len(kept), 100))
    assert 0.9 * KEPT_BYTES < 100_000 * len(kept) <= KEPT_BYTES


def test_positions_count_where_there_are_many_and_few_events() -> None:
    assert len(_kept(500, 0, 200)) <= KEPT_BYTES // (200 * 500)


def test_one_that_is_too_large_is_not_kept() -> None:
    assert _kept(1, KEPT_BYTES + 1, 1) == []


def test_one_that_leads_nowhere_is_not_kept() -> None:
    portions = Portions()
    place = _place(7, 2)
    portions.keep(place, Portion([], {0: 7, 1: 7}, latest_only=False))

    assert portions.get(place) is None


def test_a_longer_one_takes_the_place_of_a_shorter() -> None:
    portions = Portions()
    place = _place(7, 2)
    for size_bytes in (10, 20):
        portions.keep(place, _portion(7, 2, size_bytes=size_bytes))

    found = portions.get(place)
    assert found is not None
    assert b"x" * 20 in found.frames(b"1")
