"""Results that belong to no event: timers of handlers, published like any others."""

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from service.clock import wall_clock_ms
from service.events import Outcome, Permission, RecordBatch, Result, SourceRecord
from service.handlers.results import PartitionResult
from service.publishers.changelog import Changelog
from service.publishers.results import ResultWriter
from service.state.keyed import PartitionId
from service.state.store import LoggedState
from service.state.table import Table


class _Emission(RecordBatch):
    """A batch of one made-up record, whose completion is awaited.

    Attributes:
        changelog: Of the handler's state.
        durable: Done when its results are durable, or somebody else's.
        tables: The states of its partition, which have what was changed with its results.
    """

    __slots__ = ("changelog", "durable", "tables")

    read: ClassVar[bool] = False
    changelog: Changelog | None
    durable: "asyncio.Future[None]"
    tables: Sequence[tuple[LoggedState, Table]]

    def permission(self) -> Permission:
        """As of the changes that go with them: never once the partition went."""
        place = (self.topic, self.partition)
        if any(state.tables.get(place) is not table for state, table in self.tables):
            return Permission.NEVER
        return Permission.GO if self.changelog is None else self.changelog.permission(place)

    def dropped(self, places: Sequence[int]) -> None:
        """The next owner of the partition tells them, from what its changelog has."""
        for _, table in self.tables:
            table.unsettled += 1
        self.ack_many(places)

    def on_complete(self) -> None:
        if not self.durable.done():
            self.durable.set_result(None)


class Emitter:
    """Publishes a handler's own results.

    Args:
        writer: The handler's writer.
        name: Stands for the input topic in the results' ids.
        changelog: Of the handler's state: what a timer changes waits for what it has to say.
    """

    def __init__(self, writer: ResultWriter, name: str, changelog: Changelog | None) -> None:
        self._writer = writer
        self._name = name
        self._changelog = changelog
        self._last = 0

    async def emit(self, results: Sequence[Result]) -> None:
        """Publish ``results``; returns when they are durable, or part of a transaction.

        Cancel safety: what was queued is published all the same.
        """
        changelog = self._changelog
        # Not what calls of events have changed that still wait for something: they may fail.
        changed = changelog is not None and changelog.store.settle_timers()
        if not results:
            if changelog is not None and changed:
                changelog.changed()
            return
        groups = self._grouped(results)
        # All of them are queued before anything is awaited: a checkpoint taken in between would
        # have the changes of results that are not.
        batches = [self._batch(place) for place, _ in groups]
        if changelog is not None and changed:
            changelog.unwritten.update((batch, 0) for batch in batches)
        for batch, (_, some) in zip(batches, groups, strict=True):
            waiting = self._writer.publish([Outcome(batch, 0, some)])
            if waiting is not None:
                await waiting
        for batch in batches:
            await batch.durable

    def _grouped(self, results: Sequence[Result]) -> list[tuple[PartitionId, list[Result]]]:
        """Results that are published or buried together, each with the partition of its state.

        Those of a partition are, but for one that cannot be published: it has nothing to do with
        the others, which would be buried with it.
        """
        together: dict[PartitionId, list[Result]] = {}
        alone: list[tuple[PartitionId, list[Result]]] = []
        for result in results:
            place = result.place if isinstance(result, PartitionResult) else (self._name, 0)
            if self._writer.takes(result):
                together.setdefault(place, []).append(result)
            else:
                alone.append((place, [result]))
        return [*together.items(), *alone]

    def undo(self) -> None:
        """What a timer has changed did not happen, because it failed."""
        if self._changelog is not None:
            self._changelog.store.undo_timers()

    def _batch(self, place: PartitionId) -> _Emission:
        self._last = max(self._last + 1, wall_clock_ms())  # so that ids never repeat
        record = SourceRecord(None, offset=self._last)
        batch = _Emission(*place, (record,), next_offset=self._last + 1)
        batch.durable = asyncio.get_running_loop().create_future()
        batch.changelog = self._changelog
        states = () if self._changelog is None else self._changelog.store.states.values()
        batch.tables = [(state, state.tables[place]) for state in states if place in state.tables]
        return batch
