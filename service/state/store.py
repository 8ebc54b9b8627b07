"""All states of one handler: values, what an event has changed, what its failure undoes.

A handler changes values while it works for an event.  When the event is handled, its changes
count (:meth:`LoggedStore.settle`): the keys become dirty, and whoever writes the changelog takes
them from there.  When it fails, they are undone (:meth:`LoggedStore.undo`), so that the next
attempt starts from the same state.  What is written to the changelog is the value of the moment,
however many events have changed it since the last time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from service.errors import StateTypeError
from service.state.keyed import (
    MAY_HOLD,
    NOT_FINITE,
    Codec,
    Partition,
    PartitionId,
    Place,
    check_key,
    is_finite,
)
from service.state.records import Serde, serde
from service.state.table import Table
from service.state.undecided import Note, Undecided, is_no_event, still_there

_UNCHANGING: Final = frozenset((int, float, str, bool))


class NewTable(Protocol):
    """Makes tables."""

    def __call__(
        self,
        clock: Callable[[], float],
        *,
        ttl_s: float | None,
        max_keys: int,
        serde: Serde,
    ) -> Table:
        """An empty table; arguments as for :class:`Table`."""
        ...


class LoggedState:
    """A :class:`~service.state.keyed.KeyedState` whose changes can be undone and logged.

    Args:
        name: Its name.
        changes: Where changes are noted; shared by the states of a handler.
        clock: Seconds on a monotonic clock.
        ttl_s: As for :meth:`service.state.keyed.StateStore.keyed`.
        max_keys: As for the same.
        codec: For values that are not JSON.

    Attributes:
        serde: How its values become bytes and come back.
        tables: By partition, of those that are worked on here.
    """

    def __init__(
        self,
        name: str,
        changes: Undecided,
        clock: Callable[[], float],
        *,
        ttl_s: float | None,
        max_keys: int,
        codec: Codec | None,
    ) -> None:
        self.name = name
        self.serde = serde(codec)
        self._plain = codec is None
        self._changes = changes
        self._clock = clock
        self._ttl_s = ttl_s
        self._max_keys = max_keys
        self.tables: dict[PartitionId, Table] = {}

    def get(self, place: Place, key: str) -> Any:
        """See :meth:`service.state.keyed.KeyedState.get`."""
        table = self.tables.get((place.topic, place.partition))
        return None if table is None else table.get(key)

    def put(self, place: Place, key: str, value: Any) -> None:
        """See :meth:`service.state.keyed.KeyedState.put`."""
        if type(key) is not str or not key.isascii():
            check_key(key)
        if type(value) in MAY_HOLD and self._plain and not is_finite(value):
            raise StateTypeError(NOT_FINITE)
        table = self._table(place)
        self._changes.append((place, table, (key,), (table.put(key, value),)))

    def reader(self, place: Place) -> Callable[[str], Any]:
        """See :meth:`service.state.keyed.KeyedState.reader`."""
        return self._table(place).reader()

    def put_many(self, place: Place, values: Mapping[str, Any]) -> None:
        """See :meth:`service.state.keyed.KeyedState.put_many`."""
        try:
            usual = all(map(str.isascii, values))
        except TypeError:
            usual = False
        if not usual:
            for key in values:
                check_key(key)
        if self._plain and not all(map(is_finite, values.values())):
            raise StateTypeError(NOT_FINITE)
        table = self._table(place)
        # a copy as a dictionary, because that is what the keys are added to next
        self._changes.append((place, table, dict(values), table.put_many(values)))

    def delete(self, place: Place, key: str) -> None:
        """See :meth:`service.state.keyed.KeyedState.delete`."""
        table = self.tables.get((place.topic, place.partition))
        if table is not None and table.peek(key) is not None:
            self._changes.append((place, table, (key,), (table.delete(key),)))

    def items(self, place: Place) -> Iterator[tuple[str, Any]]:
        """See :meth:`service.state.keyed.KeyedState.items`."""
        table = self.tables.get((place.topic, place.partition))
        return iter(()) if table is None else table.items()

    def survey(
        self, place: Place, known: Callable[[Any], Any], stored: Callable[[bytes], Any]
    ) -> Iterator[tuple[str, Any]]:
        """See :meth:`service.state.keyed.KeyedState.survey`."""
        table = self.tables.get((place.topic, place.partition))
        return iter(()) if table is None else table.survey(known, stored)

    def undecided(self, place: Place, key: str) -> bool:
        """See :meth:`service.state.keyed.KeyedState.undecided`."""
        if not self._changes:
            return False
        table = self.tables.get((place.topic, place.partition))
        return any(
            changed is table and key in keys and not is_no_event(whose)
            for whose, changed, keys, _ in self._changes.notes()
        )

    def partitions(self) -> Sequence[Partition]:
        """See :meth:`service.state.keyed.KeyedState.partitions`."""
        return [Partition(*at) for at, table in self.tables.items() if len(table)]

    def _table(self, place: Place) -> Table:
        table = self.tables.get((place.topic, place.partition))
        if table is None:
            table = self.tables[place.topic, place.partition] = self.new_table(Table)
        return table

    def new_table(self, make: NewTable) -> Table:
        """An empty table for a partition."""
        return make(self._clock, ttl_s=self._ttl_s, max_keys=self._max_keys, serde=self.serde)


class LoggedStore:
    """A :class:`~service.state.keyed.StateStore` that knows what a changelog has to be told.

    Partitions that were opened have a changelog; others (of sources without partitions to own)
    are kept in memory only.

    Args:
        clock: Seconds on a monotonic clock.
        new_table: Makes tables of partitions that have a changelog; in memory if not given.

    Attributes:
        changes: Those neither settled nor undone yet, oldest first; empty nearly always.
        states: By name.
    """

    def __init__(self, clock: Callable[[], float], new_table: NewTable = Table) -> None:
        self._clock = clock
        self._new_table = new_table
        self._kept: dict[tuple[str, PartitionId], Table] = {}
        self.changes = Undecided()
        self._built_on: list[Note] = []
        self.states: dict[str, LoggedState] = {}

    def keyed(
        self, name: str, *, ttl_s: float | None, max_keys: int, codec: Codec | None = None
    ) -> LoggedState:
        """See :meth:`service.state.keyed.StateStore.keyed`."""
        state = self.states.get(name)
        if state is None:
            state = self.states[name] = LoggedState(
                name, self.changes, self._clock, ttl_s=ttl_s, max_keys=max_keys, codec=codec
            )
        return state

    # -- events ----------------------------------------------------------------------------

    def settle(self) -> None:
        """What has changed counts; for callers that let nothing come in between."""
        _settle(self.changes.notes() if self.changes.indexed else self.changes)
        self._let_go()

    def undo(self) -> None:
        """What has changed did not happen; for callers that let nothing come in between."""
        _undo(list(self.changes.notes()))
        self._let_go()

    def settle_for(self, place: Place) -> bool:
        """What has changed for ``place`` counts; returns whether anything has.

        So does what has changed for its partition and no event: by the same call, as a rule.
        """
        return bool(self.changes) and self._settle(self.changes.take_for(place, partition_too=True))

    def undo_for(self, place: Place) -> None:
        """What has changed for ``place`` did not happen."""
        if self.changes:
            self._undo(self.changes.take_for(place, partition_too=False))

    def settle_timers(self) -> bool:
        """What has changed for no event counts; returns whether anything has.

        Calls that wait for something have changes here too, and those are not decided yet.
        """
        return bool(self.changes) and self._settle(self.changes.take_of_no_event())

    def undo_timers(self) -> None:
        """What has changed for no event did not happen."""
        if self.changes:
            self._undo(self.changes.take_of_no_event())

    @property
    def separable(self) -> bool:
        """Whether what counts can be told apart from what calls still under way have changed.

        Not if one has put back the very object that was there, which it has changed in place, and
        not if something counts already that was put on top of what such a call had put.
        """
        return not self._built_on and not any(
            before is not None and type(before) not in _UNCHANGING and table.peek(key) is before
            for _, table, keys, values in self.changes.notes()
            for key, before in zip(keys, values, strict=True)
        )

    def undecided(self, table: Table) -> dict[str, Any]:
        """Keys of ``table`` that calls still under way have changed, with the values that count."""
        values: dict[str, Any] = {}
        for _, changed, keys, before in self.changes.notes():
            if changed is table:
                for key, value in zip(keys, before, strict=True):
                    values.setdefault(key, value)  # the first change has what was before all
        return values

    def _settle(self, taken: tuple[list[Note], list[Note]]) -> bool:
        mine, built_on = taken
        self._built_on += built_on
        self._decided(mine)
        _settle(mine)
        return bool(mine)

    def _undo(self, taken: tuple[list[Note], list[Note]]) -> None:
        mine, _ = taken
        self._decided(mine)
        _undo(mine)

    def _decided(self, mine: list[Note]) -> None:
        if mine and self._built_on:
            self._built_on = still_there(self._built_on, self.changes.notes())

    def _let_go(self) -> None:
        if self.changes.indexed:
            self.changes.forget()
        else:
            self.changes.clear()
        self._built_on.clear()

    # -- partitions ------------------------------------------------------------------------

    def release(self, partition: PartitionId) -> None:
        """Let nobody work on ``partition``, but keep its state in case it comes straight back."""
        for state in self.states.values():
            table = state.tables.pop(partition, None)
            if table is not None and table.logged:
                self._kept[state.name, partition] = table

    def reopen(self, name: str, partition: PartitionId) -> Table:
        """The table of ``partition`` to restore into: what was kept, or an empty one.

        What was kept is used only if the changelog had all of it; reading on from its
        ``next_offset`` then brings it up to date whoever owned the partition meanwhile.
        """
        table = self._kept.pop((name, partition), None)
        if table is not None and not (table.clean and not self.undecided(table)):
            table.close()
            table = None
        if table is None:
            table = self.states[name].new_table(self._new_table)
            table.logged = True  # what expires while it is read has to leave the changelog too
        return table

    def open(self, name: str, partition: PartitionId, table: Table) -> None:
        """Work with ``table`` from here on."""
        self.states[name].tables[partition] = table

    def forget(self, topic: str, partition: int) -> None:
        """See :meth:`service.state.keyed.StateStore.forget`."""
        for state in self.states.values():
            for table in (
                state.tables.pop((topic, partition), None),
                self._kept.pop((state.name, (topic, partition)), None),
            ):
                if table is not None:
                    table.close()

    def sweep(self) -> None:
        """Remove expired keys everywhere, and what is empty of partitions that nobody opened.

        Each may be a connection that is gone.
        """
        undecided = {id(table) for _, table, _, _ in self.changes.notes()}
        for state in self.states.values():
            for partition, table in list(state.tables.items()):
                table.sweep()
                if not (len(table) or table.logged or id(table) in undecided):
                    del state.tables[partition]

    @property
    def tables(self) -> Iterator[Table]:
        """The tables that are worked on, of every state and partition."""
        return (table for state in self.states.values() for table in state.tables.values())

    def keys(self) -> int:
        """Keys held, of every state and partition."""
        return sum(map(len, self.tables))

    def evicted(self) -> int:
        """Keys that left because there were too many, in the tables that are open."""
        return sum(table.evicted for table in self.tables)

    def damaged(self) -> int:
        """Keys whose stored value could not be decoded, in the tables that are open."""
        return sum(table.damaged for table in self.tables)


def _settle(changes: Iterable[Note]) -> None:
    for _, table, keys, _ in changes:
        if table.logged:
            table.dirty.update(keys if type(keys) is dict else dict.fromkeys(keys))


def _undo(changes: Sequence[Note]) -> None:
    for _, table, keys, values in reversed(changes):
        for key, before in zip(keys, values, strict=True):
            if before is None:
                table.delete(key)
            else:
                table.put(key, before)
