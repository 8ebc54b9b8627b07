"""What events have changed and nobody has decided yet: whether it counts, or did not happen.

A plain function's changes are decided at once, so there is one event's or none.  Of a coroutine
function there are as many as calls that wait, each decided in its own time: then they are found
by event and by key, or each call that ends would look at those of all the others.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from service.state.keyed import Place
from service.state.table import Table

Note: TypeAlias = tuple[Place, Table, Collection[str], Sequence[Any]]
"""For which event which keys of which table changed, and their values before."""

FEW: Final = 16
"""Up to so many are looked at one by one, which is quicker than an index."""


class Undecided(list[Any]):
    """Notes, oldest first; one may be ``None`` in place of what was taken, if :attr:`indexed`.

    A list, because to note a change and to ask whether there is any is done for every event.  It is
    empty exactly when there is none.

    Attributes:
        indexed: How many of the first are in the index; 0 if there is none.
    """

    __slots__ = ("_by_event", "_by_key", "_gone", "_of_no_event", "indexed")

    def __init__(self) -> None:
        super().__init__()
        self.indexed = 0
        self._gone = 0
        self._by_event: dict[tuple[int, int], list[int]] = {}
        self._by_key: dict[tuple[int, str], list[int]] = {}
        self._of_no_event: list[int] = []

    def notes(self) -> Iterator[Note]:
        """All that are there."""
        return (note for note in self if note is not None)

    def forget(self) -> None:
        """Let go of all."""
        self.clear()
        self._unindex()

    def take_for(self, place: Place, *, partition_too: bool) -> tuple[list[Note], list[Note]]:
        """Take out those of an event, or of a partition without one.

        Args:
            place: Whose.
            partition_too: And those of its partition and no event.

        Returns:
            Those, and of what is left the older notes that changed a key which one of them changed.
        """
        if len(self) == 1 and self[0] is not None and self[0][0] is place:
            return [self.pop()], []  # as of nearly every call, and so there is no index

        def wanted(other: Place) -> bool:
            return _same(other, place) or (partition_too and _is_partition_of(other, place))

        if len(self) <= FEW and not self.indexed:
            return self._take_slowly(wanted)
        self._index()
        batch = getattr(place, "batch", None)
        found = [] if batch is None else self._by_event.pop((id(batch), _index_of(place)), [])
        if self._of_no_event and (partition_too or batch is None):
            found = sorted([*found, *(at for at in self._of_no_event if wanted(self[at][0]))])
        return self._take(found)

    def take_of_no_event(self) -> tuple[list[Note], list[Note]]:
        """Take out those of no event; returns what :meth:`take_for` does."""
        if len(self) <= FEW and not self.indexed:
            return self._take_slowly(is_no_event)
        self._index()
        return self._take(self._of_no_event.copy())

    def _take_slowly(self, wanted: Callable[[Place], bool]) -> tuple[list[Note], list[Note]]:
        mine: list[Note] = []
        left: list[Note] = []
        built_on: list[Note] = []
        for note in self:
            if wanted(note[0]):
                built_on += [other for other in left if _share_a_key(other, note)]
                mine.append(note)
            else:
                left.append(note)
        if mine:
            self[:] = left
        return mine, built_on

    def _take(self, places: Sequence[int]) -> tuple[list[Note], list[Note]]:
        if not places:
            return [], []
        mine: list[Note] = [self[at] for at in places]
        older: dict[int, None] = {}
        for at, note in zip(places, mine, strict=True):
            for key in note[2]:
                holders = self._by_key[id(note[1]), key]
                older |= dict.fromkeys(other for other in holders if other < at)
        taken = set(places)
        built_on: list[Note] = [self[at] for at in older if at not in taken]
        for at, note in zip(places, mine, strict=True):
            for key in note[2]:
                holders = self._by_key[id(note[1]), key]
                holders.remove(at)
                if not holders:
                    del self._by_key[id(note[1]), key]
            self[at] = None
        if self._of_no_event:
            self._of_no_event = [at for at in self._of_no_event if at not in taken]
        self._gone += len(places)
        if 2 * self._gone >= len(self):  # so a note is moved once for each one taken, at most
            self[:] = list(self.notes())
            self._unindex()
        return mine, built_on

    def _index(self) -> None:
        for at in range(self.indexed, len(self)):
            place, table, keys, _ = self[at]
            batch = getattr(place, "batch", None)
            if batch is None:
                self._of_no_event.append(at)
            else:
                self._by_event.setdefault((id(batch), _index_of(place)), []).append(at)
            for key in dict.fromkeys(keys):
                self._by_key.setdefault((id(table), key), []).append(at)
        self.indexed = len(self)

    def _unindex(self) -> None:
        self.indexed = self._gone = 0
        self._by_event.clear()
        self._by_key.clear()
        self._of_no_event.clear()


def is_no_event(place: Place) -> bool:
    """Whether ``place`` is a partition, not an event of it."""
    return getattr(place, "batch", None) is None


def still_there(notes: Iterable[Note], undecided: Iterable[Note]) -> list[Note]:
    """Those of ``notes`` that are among ``undecided``."""
    there = set(map(id, undecided))
    return [note for note in notes if id(note) in there]


def _index_of(place: Any) -> int:
    index: int = place.index
    return index


def _share_a_key(one: Note, other: Note) -> bool:
    return one[1] is other[1] and any(key in one[2] for key in other[2])


def _is_partition_of(place: Place, event: Place) -> bool:
    return is_no_event(place) and place.partition == event.partition and place.topic == event.topic


def _same(one: Any, other: Any) -> bool:
    """Whether two places are the same event, or the same partition of a timer.

    A typed handler is called with a copy of its event, so it is the record that counts.
    """
    if one is other:
        return True
    batch = getattr(one, "batch", None)
    if batch is None:
        return bool(one == other)
    return batch is getattr(other, "batch", None) and bool(one.index == other.index)
