"""Results that go to other pipelines of this process, beside or instead of a topic.

Stands between a handler's :class:`~service.publishers.results.ResultWriter` and the publisher.
To the writer a chain is one more topic, under a name that no topic can have; its entries come
together here, and when a run of them ends they leave as batches for the channels of the next
pipelines.  A full channel makes the writer wait, as a slow broker would.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from service.delivery.chained import ChainedBatch
from service.delivery.identity import ID_HEADER
from service.events import RecordBatch, SourceRecord
from service.publishers.base import Row, TopicInfo
from service.publishers.protocols import Publisher
from service.publishers.runs import Entry, EntryOwner, Run

RECORD_OVERHEAD_BYTES: Final = 200
"""About what the objects around one result take; counts towards the channel's bytes."""

_CHAIN: Final = "pipeline:"
"""Begins the names of chains; no topic has a colon."""


class ChainTarget(Protocol):
    """A pipeline that takes results of others; see :class:`service.consumers.chain.ChainSource`.

    Attributes:
        batch_records: Most results of a batch for it.
        max_bytes: Largest result that it takes.
    """

    batch_records: int
    max_bytes: int

    async def opened(self) -> None:
        """Wait until it takes batches.  Cancel safe."""
        ...

    def try_send(self, batch: ChainedBatch) -> bool:
        """Send ``batch`` if there is room now."""
        ...

    async def send(self, batch: ChainedBatch) -> None:
        """Send ``batch``, waiting for room.

        Cancel safety: a cancelled call has not sent ``batch``.
        """
        ...


class ChainOwner(EntryOwner, Protocol):
    """Whose results they are: a result writer."""

    def passed_on(self, run: Run) -> None:
        """The results of ``run`` are done with in the pipeline that they went to."""
        ...


class ChainPublisher:
    """A :class:`~service.publishers.protocols.Publisher` for the results of one handler.

    Args:
        publisher: Where everything else goes.
        via: The handler, as ``pipeline/handler``.
        topic: Its output topic, if results are to be stored there too.
        targets: The pipelines that take its results; at least one.

    Attributes:
        output: What the handler's writer takes for its output topic.
        owner: The handler's writer; set before anything is added.
    """

    owner: ChainOwner

    def __init__(
        self,
        publisher: Publisher,
        *,
        via: str,
        topic: str | None,
        targets: Sequence[ChainTarget],
    ) -> None:
        self.output = f"{_CHAIN}{via}"
        self._publisher = publisher
        self._via = via
        self._topic = topic
        self._chains = [_Chain(target) for target in targets]
        self._own: dict[str, TopicInfo] = {}
        self._topics: dict[str, TopicInfo] = {}
        self._sending = asyncio.Lock()

    # -- topics ----------------------------------------------------------------------------

    @property
    def topics(self) -> Mapping[str, TopicInfo]:
        """See :class:`~service.publishers.protocols.Publisher`."""
        known = self._publisher.topics
        if len(self._topics) != len(known) + len(self._own):
            self._topics = {**known, **self._own}
        return self._topics

    async def learn(self, topic: str) -> None:
        """See :class:`~service.publishers.protocols.Publisher`."""
        if topic != self.output:
            await self._publisher.learn(topic)
            return
        limit = min(chain.target.max_bytes for chain in self._chains)
        own = TopicInfo(1, limit)
        if self._topic is not None:
            await self._publisher.learn(self._topic)
            limit = min(limit, self._publisher.max_record_bytes(self._topic))
            own = self._publisher.topics[self._topic]
        for chain in self._chains:
            await chain.target.opened()
        self._own[topic] = own._replace(partitions=1, max_message_bytes=limit)

    def max_record_bytes(self, topic: str) -> int:
        """See :class:`~service.publishers.protocols.Publisher`."""
        own = self._own.get(topic)
        return self._publisher.max_record_bytes(topic) if own is None else own.max_message_bytes

    def partition_for(self, topic: str, key: bytes | None, spare: int) -> int:
        """See :class:`~service.publishers.protocols.Publisher`; a channel has no partitions."""
        return 0 if topic == self.output else self._publisher.partition_for(topic, key, spare)

    def partitions_for(self, topic: str, keys: Sequence[bytes | None], spare: int) -> Sequence[int]:
        """See :class:`~service.publishers.protocols.Publisher`."""
        if topic == self.output:
            return [0] * len(keys)
        return self._publisher.partitions_for(topic, keys, spare)

    # -- adding ----------------------------------------------------------------------------

    def add(self, topic: str, partition: int, entry: Entry) -> None:
        """See :class:`~service.publishers.protocols.Publisher`."""
        if topic == self.output:
            self._add((entry,))
        else:
            self._publisher.add(topic, partition, entry)

    def add_run(self, topic: str, partition: int, run: Run, rows: Sequence[Row]) -> None:
        """See :class:`~service.publishers.protocols.Publisher`."""
        if topic != self.output:
            self._publisher.add_run(topic, partition, run, rows)
            return
        # Without the row's time, which is that of writing it: a chain passes on the original's.
        entries = [
            Entry(None, key, value, headers, run.batch, place, run.owner)
            for place, (_, key, value, headers) in zip(run.places, rows, strict=True)
        ]
        self._add(entries)

    def _add(self, entries: Sequence[Entry]) -> None:
        chains, stored_in = self._chains, self._topic
        others = len(chains) - 1 + (stored_in is not None)
        if others:
            for entry in entries:
                entry.batch.hold(entry.place, others)
        if stored_in is not None:
            for entry in entries:
                number = self._publisher.partition_for(stored_in, entry.key, entry.batch.partition)
                self._publisher.add(stored_in, number, entry)
        for chain in chains:
            chain.entries.extend(entries)

    def added(self, *, urgent: bool) -> None:
        """See :class:`~service.publishers.protocols.Publisher`."""
        for chain in self._chains:
            if chain.entries:
                self._seal(chain)
        self._publisher.added(urgent=urgent)

    @property
    def full(self) -> bool:
        """See :class:`~service.publishers.protocols.Publisher`."""
        return self._publisher.full or any(chain.waiting for chain in self._chains)

    @property
    def tight(self) -> bool:
        """See :class:`~service.publishers.protocols.Publisher`."""
        return self._publisher.tight

    def room(self) -> Coroutine[Any, Any, None]:
        """Wait until every batch has its place in a channel, and the publisher has room.

        Cancel safe: what has not been sent stays, in order.
        """
        return self._sent(self._publisher.room())

    async def _sent(self, room: Awaitable[None]) -> None:
        # One at a time: a handler's timer may publish beside its events.
        async with self._sending:
            for chain in self._chains:
                while chain.waiting:
                    await chain.target.send(chain.waiting[0])
                    chain.waiting.popleft()
        await room

    def _seal(self, chain: "_Chain") -> None:
        """Make batches of what has come together; send those that fit, in order."""
        entries, chain.entries = chain.entries, []
        for batch in self._batches(entries, chain.target.batch_records):
            if chain.waiting or not chain.target.try_send(batch):
                chain.waiting.append(batch)

    def _batches(self, entries: Sequence[Entry], most: int) -> list[ChainedBatch]:
        """Runs of ``entries`` that share a batch, and their place among its records' results.

        Batches of records are independent of each other in the same way as partitions are, so
        results of different ones may pass each other; those of one batch keep their order.
        """
        runs: list[_Filling] = []
        last: dict[RecordBatch, _Filling] = {}
        for entry in entries:
            batch, number = entry.batch, _number(entry)
            run = last.get(batch)
            if run is None or run.number != number or len(run.entries) >= most:
                run = last[batch] = _Filling(batch, number)
                runs.append(run)
            run.entries.append(entry)
        now_s = asyncio.get_running_loop().time()
        return [self._batch(run, now_s) for run in runs]

    def _batch(self, run: "_Filling", now_s: float) -> ChainedBatch:
        records: list[SourceRecord] = []
        size_bytes = 0
        source, entries = run.batch.records, run.entries
        for entry in entries:
            origin = source[entry.place]
            stamp = origin.timestamp if entry.timestamp_ms is None else entry.timestamp_ms
            records.append(
                SourceRecord(
                    entry.value,
                    key=entry.key,
                    offset=origin.offset,
                    timestamp=stamp,
                    headers=entry.headers,
                )
            )
            size_bytes += len(entry.value or b"") + len(entry.key or b"") + RECORD_OVERHEAD_BYTES
        return ChainedBatch(
            run.batch,
            [entry.place for entry in entries],
            records,
            via=f"{self._via}:{run.number}" if run.number else self._via,
            passed_on=partial(self._passed_on, run),
            size_bytes=size_bytes,
            received_at_s=now_s,
        )

    def _passed_on(self, run: "_Filling", indexes: Sequence[int]) -> None:
        places = [run.entries[index].place for index in indexes]
        self.owner.passed_on(Run(run.batch, places, self.owner))


class _Chain:
    """What is on its way to one pipeline: entries of this run, and batches that found no room."""

    __slots__ = ("entries", "target", "waiting")

    def __init__(self, target: ChainTarget) -> None:
        self.target = target
        self.entries: list[Entry] = []
        self.waiting: deque[ChainedBatch] = deque()


class _Filling:
    """Entries of one future batch."""

    __slots__ = ("batch", "entries", "number")

    def __init__(self, batch: RecordBatch, number: int) -> None:
        self.batch = batch
        self.number = number
        self.entries: list[Entry] = []


def _number(entry: Entry) -> int:
    """Which of its record's results an entry is, from 0: the end of its id."""
    for name, content in entry.headers:
        if name == ID_HEADER:
            return int(content.rpartition(b"-")[2])
    return 0
