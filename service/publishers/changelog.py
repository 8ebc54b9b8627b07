"""State into its changelog: what a handler remembers becomes durable before its offsets do.

A changelog record is the value that a key has when it is written, so keys that change often are
written once per checkpoint, not once per event.  A checkpoint is taken only at a moment when
every change that counts belongs to a record whose results are queued already; otherwise a crash
could leave a change in the changelog whose result was never published.  Of a key that was changed
by a call still under way, it has the value from before that call.

At least once, a checkpoint goes out when the results of its records are durable, and the records
of a partition are acknowledged when its changes are: state never runs ahead of results, and
offsets never run ahead of state.  Exactly once, the changes go into the transaction that has the
results and the position, so nothing needs to be held.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from service.errors import OutputTooLargeError
from service.events import Permission, RecordBatch
from service.publishers.base import Row
from service.publishers.changes import Changes, Settled, take_changes
from service.publishers.checkpoints import MOST_UNDER_WAY, Checkpoint, Written
from service.publishers.protocols import Publisher
from service.publishers.runs import Entry, Run
from service.state.keyed import PartitionId
from service.state.records import key_prefix
from service.state.store import LoggedState, LoggedStore
from service.state.table import Table

CHECKPOINT_S: Final = 0.1
"""Shortest time between two checkpoints."""
CHECKPOINT_MAX_S: Final = 1.0
"""Longest, when writing them is expensive."""
CHECKPOINT_COST_SHARE: Final = 0.05
"""Share of the time that taking checkpoints may cost; they become rarer to keep it."""
CHECKPOINT_RECORDS: Final = 10_000
"""Records that wait at which the next checkpoint is taken early, if nothing else is said."""
HASTEN_PARTS: Final = 8
"""A source without room for more need not wait for all of these, but for one in so many."""
RECHECK_S: Final = 0.005
"""Time until another look, when a checkpoint is due but something is half done."""

Owner: TypeAlias = Callable[[str, int], Permission | None]
"""What may become of work on an input partition, of whoever reads it; ``None`` if it does not."""


class Changelog:
    """Writes the changelogs of one handler.

    Args:
        store: Its state.
        publisher: Where records go.
        topics: Changelog topic by name of a state; states without one are not logged.
        handler: Its name, for the log.
        transactional: Whether changes go into the transactions of their input partition.
        early_records: Records that wait at which the next checkpoint is taken early, or they
            would stop the source.

    Attributes:
        unwritten: Records (batch and index) whose changes are in memory and whose results are
            not queued yet.
        pending: Changes of checkpoints that are not durable yet.
        owners: Asked before the changes of a partition are sent.
    """

    def __init__(
        self,
        store: LoggedStore,
        publisher: Publisher,
        topics: dict[str, str],
        *,
        handler: str,
        transactional: bool,
        early_records: int = CHECKPOINT_RECORDS,
    ) -> None:
        self.store = store
        self.topics = topics
        self._publisher = publisher
        self._handler = handler
        self._transactional = transactional
        self._early_records = early_records
        self._open = Checkpoint()
        self._sealed: list[Checkpoint] = []
        self._awaiting: dict[tuple[int, int], tuple[Checkpoint, int]] = {}
        self._timer: asyncio.Handle | None = None
        self._delay_s = CHECKPOINT_S
        self._waiting = self.pending = 0
        self._failure: Exception | None = None
        self.unwritten: set[tuple[RecordBatch, int]] = set()
        self.owners: list[Owner] = []

    async def prepare(self) -> None:
        """Find out about the changelog topics, however long the broker takes.  Cancel safe."""
        for topic in self.topics.values():
            await self._publisher.learn(topic)

    # -- what the dispatcher and the writer say ----------------------------------------------

    def cover(self, batch: RecordBatch, indexes: Sequence[int]) -> None:
        """Acknowledge the records at ``indexes``, whose only effect is a change, in due time."""
        if self._transactional:
            batch.ack_many(indexes)
            return
        self._open.cover(batch, indexes)
        self._arm(len(indexes))

    def wrote(self, batch: RecordBatch, index: int, results: int) -> None:
        """The results of a changed record are queued; with this, it waits for its changes too.

        But not a tick, which nobody read: its partition may have to wait for long, and meanwhile
        the time of the others goes on.

        Args:
            batch: Its batch.
            index: Its place there.
            results: How many records :meth:`stored` will be told of.
        """
        self.unwritten.discard((batch, index))
        if self._transactional:
            return
        if batch.read:
            batch.hold(index)
            self._open.cover(batch, (index,))
        if results:
            self._open.outstanding += results
            self._awaiting[id(batch), index] = (self._open, results)
        self._arm(1)

    def dropped(self, batch: RecordBatch, index: int) -> None:
        """A changed record is not ours any more, and its changes in memory count for nothing.

        Its partition was released, and is restored before it is worked on again.
        """
        self.unwritten.discard((batch, index))

    def changed(self) -> None:
        """Something changed that belongs to no record: keys expired, a timer had no result.

        Raises:
            Exception: What a checkpoint has failed with; its records would wait for ever.
        """
        if self._failure is not None:
            raise self._failure
        if not self._transactional and any(table.dirty for table in self.store.tables):
            self._arm()

    def results_stored(self, runs: Sequence[Run], owner: object) -> None:
        """Results are durable, or have become dead letters."""
        if not self._awaiting:
            return
        for run in runs:
            if run.owner is owner:
                for place in run.places:
                    self._result_stored(id(run.batch), place)

    def _result_stored(self, batch_id: int, place: int) -> None:
        found = self._awaiting.get((batch_id, place))
        if found is None:
            return
        checkpoint, left = found
        checkpoint.outstanding -= 1
        if left > 1:
            self._awaiting[batch_id, place] = (checkpoint, left - 1)
        else:
            del self._awaiting[batch_id, place]
        if not checkpoint.outstanding:
            self._send()

    def hasten(self) -> None:
        """Take the next checkpoint now if much waits for it: the source has no room for more.

        How many records it has room for depends on their size, on how they are spread over
        partitions and on who else has some, so that is not known here.
        """
        if self._timer is not None and self._waiting * HASTEN_PARTS >= self._early_records:
            self._take_soon()

    async def finish(self) -> None:
        """Take the last checkpoint now, and wait until it is durable; no event comes any more.

        Cancel safe.
        """
        while self._timer is not None or self._open.covered or self._sealed or self.pending:
            if self._timer is not None:
                self._timer.cancel()
                self._due()
            await asyncio.sleep(RECHECK_S)

    @property
    def lag(self) -> int:
        """Changed keys whose value is not durable yet."""
        return self.pending + sum(len(table.dirty) for table in self.store.tables)

    def permission(self, place: PartitionId) -> Permission:
        """Whether changes of an input partition may be written."""
        answers = {owner(*place) for owner in self.owners}
        return Permission.WAIT if Permission.WAIT in answers else Permission.GO

    def _take(self, state: LoggedState, place: PartitionId, table: Table) -> Changes:
        topic = self.topics[state.name]
        limit = self._publisher.max_record_bytes(topic)
        undecided = self.store.undecided(table) if self.store.changes else {}
        return take_changes(
            state, place, table, undecided, topic=topic, limit=limit, handler=self._handler
        )

    @property
    def quiet(self) -> bool:
        """Whether every change that counts belongs to a record whose results are queued.

        Calls still under way may have changed more.  Where calls overlap there may never be a
        moment without one, so nothing would be committed if that were waited for.
        """
        return not self.unwritten and (not self.store.changes or self.store.separable)

    # -- at least once -----------------------------------------------------------------------

    def _arm(self, records: int = 0) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is None:
            self._timer = loop.call_later(self._delay_s, self._due)
        before, self._waiting = self._waiting, self._waiting + records
        if before < self._early_records <= self._waiting:
            self._take_soon()

    def _take_soon(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_soon(self._due)

    def _due(self) -> None:
        """Take a checkpoint, or look again in a moment."""
        loop = asyncio.get_running_loop()
        self._timer = None
        if not self.quiet:
            self._timer = loop.call_later(RECHECK_S, self._due)
            return
        began_s = loop.time()
        try:
            self._seal()
            self._send()
        except Exception as exc:  # noqa: BLE001 -- raised where somebody hears it
            self._failure = exc
        cost_s = loop.time() - began_s
        self._delay_s = min(CHECKPOINT_MAX_S, max(CHECKPOINT_S, cost_s / CHECKPOINT_COST_SHARE))

    def _seal(self) -> None:
        checkpoint, self._open = self._open, Checkpoint()
        self._waiting = 0
        tables = [
            (state, place, table)
            for state in self.store.states.values()
            for place, table in state.tables.items()
            if table.logged
        ]
        behind = {place[1] for _, place, table in tables if table.unsettled >= MOST_UNDER_WAY}
        checkpoint.leave(behind, self._open)
        for state, place, table in tables:
            if table.dirty and place[1] not in behind:
                changes = self._take(state, place, table)
                checkpoint.add(Written(self, checkpoint, changes, (state, place, table)))
                self.pending += len(changes.rows)
        self._sealed.append(checkpoint)

    def _send(self) -> None:
        """Send checkpoints whose results are durable, in their order."""
        while self._sealed and not self._sealed[0].outstanding:
            checkpoint = self._sealed.pop(0)
            for written in checkpoint.send():
                topic, number, rows = written.changes
                written.changes = Changes(topic, number, [])  # the publisher has them now
                run = Run(written, list(range(len(rows))), self)
                self._publisher.add_run(topic, number, run, rows)
            self._publisher.added(urgent=True)

    def settled(self, written: Written) -> None:
        """Changes are durable, or somebody else's; those that were left behind may go now."""
        self.pending -= len(written)
        if written.table.unsettled == MOST_UNDER_WAY - 1:
            self._arm()

    # -- exactly once ------------------------------------------------------------------------

    def take(self, place: PartitionId) -> list[tuple[str, int, Run, Sequence[Row]]]:
        """The changes of one input partition, for the transaction that is about to begin.

        To be called while :attr:`quiet`.  If the transaction fails, the partition has to be
        restored.

        Returns:
            Of each table its topic, partition, and records with whom to tell about them.
        """
        changes: list[tuple[str, int, Run, Sequence[Row]]] = []
        for state in self.store.states.values():
            table = state.tables.get(place)
            if table is not None and table.logged and table.dirty:
                topic, number, rows = self._take(state, place, table)
                table.unsettled += len(rows)
                # of no input record: those are acknowledged by their own results
                batch = RecordBatch("", 0, (), next_offset=0)
                run = Run(batch, list(range(len(rows))), Settled(table))
                changes.append((topic, number, run, rows))
        return changes

    # -- as the owner of entries -------------------------------------------------------------

    def stored(self, topic: str, runs: Sequence[Run], count: int, *, since_s: float) -> None:
        """See :class:`service.publishers.runs.EntryOwner`; the checkpoint counts by itself."""

    def failed(self) -> None:
        """See :class:`service.publishers.runs.EntryOwner`; it is sent again."""

    def lost(self, run: Run) -> None:
        """See :class:`service.publishers.runs.EntryOwner`; the checkpoint goes on without."""

    def refused(self, entry: Entry, reason: str) -> None:
        """Have the next checkpoint say what the key has then; this one waits for it.

        Values are measured before they are sent, but the topic takes less than was known then.
        Now that it is known, a value that is still too large is forgotten, as any such value is.

        Raises:
            OutputTooLargeError: If it is no change of ours.
        """
        written = entry.batch
        if entry.key is None or not isinstance(written, Written):
            raise OutputTooLargeError(f"the changelog refuses {entry.key!r}: {reason}")
        if written.state.tables.get(written.place) is not written.table:
            written.ack(entry.place)  # somebody else's by now
            return
        written.table.dirty[entry.key[len(key_prefix(written.place[0])) :].decode()] = None
        written.let_go()  # it waits for a checkpoint that comes after it
        self._open.cover(written, (entry.place,))
        self._arm(1)
