"""The state of a pipeline's handlers, as partitions come and go.

The Kafka sources tell this module when a partition comes and goes, and it restores, releases and
forgets accordingly, and tells the handlers.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import structlog

from service.clock import wall_clock_ms
from service.consumers.base import TopicPartition
from service.handlers.bound import BoundHandler
from service.metrics.counters import HandlerCounters
from service.publishers.changelog import Changelog, Owner
from service.state.keyed import StateStore
from service.state.restore import ChangelogReader, Chunk, restore

log = structlog.get_logger(__name__)

PROGRESS_S: Final = 5.0
"""Time between two log lines of a restore that takes long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptHandler:
    """A handler that may remember something of partitions, or wants to know of them.

    Attributes:
        handler: The handler.
        counters: Its counters.
        store: Its state.
        changelog: Of its state, if that is durable.
    """

    handler: BoundHandler
    counters: HandlerCounters
    store: StateStore
    changelog: Changelog | None


class PipelineState:
    """A :class:`~service.consumers.base.StateKeeper` for one pipeline.

    Args:
        name: The pipeline's name, for the log.
        handlers: Those that may have state or ask to be told of partitions.
        reader: Reads changelogs.
    """

    def __init__(
        self, name: str, handlers: Collection[KeptHandler], reader: ChangelogReader
    ) -> None:
        self._name = name
        self._handlers = handlers
        self._changelogs = [each.changelog for each in handlers if each.changelog is not None]
        self._reader = reader
        self._known: set[TopicPartition] = set()

    @property
    def restores(self) -> bool:
        """See :class:`~service.consumers.base.StateKeeper`."""
        return any(
            kept.changelog is not None
            or kept.handler.assigned is not None
            or kept.handler.revoked is not None
            for kept in self._handlers
        )

    def ask(self, owner: Owner) -> None:
        """Ask ``owner`` too before changes of a partition are written."""
        for changelog in self._changelogs:
            changelog.owners.append(owner)

    async def restore(self, partition: TopicPartition) -> None:
        """See :class:`~service.consumers.base.StateKeeper`."""
        self._known.add(partition)
        for kept in self._handlers:
            if kept.changelog is not None:
                for state, topic in kept.changelog.topics.items():
                    await self._restore(kept, kept.changelog, state, topic, partition)
            if kept.handler.assigned is not None:
                await kept.handler.assigned(partition.topic, partition.partition)

    async def _restore(
        self,
        kept: KeptHandler,
        changelog: Changelog,
        name: str,
        topic: str,
        partition: TopicPartition,
    ) -> None:
        loop = asyncio.get_running_loop()
        began_s = told_s = loop.time()
        store, counters = changelog.store, kept.counters
        if name not in store.states:
            return  # declared, but the handler does not use it
        table = store.reopen(name, partition)
        start, left = table.next_offset, 0
        facts = {"handler": kept.handler.name, "state": name, "partition": str(partition)}

        def progress(chunk: Chunk) -> None:
            nonlocal told_s, left
            before, left = left, max(0, chunk.end_offset - chunk.next_offset)
            counters.restore_left += left - before  # others are restored meanwhile
            if loop.time() - told_s >= PROGRESS_S:
                told_s = loop.time()
                log.info("restoring state", pipeline=self._name, left=left, **facts)

        try:
            async with self._reader.read(topic, partition.partition, start) as chunks:
                restored = await restore(
                    table,
                    chunks,
                    topic=partition.topic,
                    now_ms=wall_clock_ms(),
                    progress=progress,
                )
        except BaseException:
            table.close()  # it has a part, and nobody goes on with it
            raise
        finally:
            counters.restore_left -= left
        store.open(name, partition, table)
        took_s = loop.time() - began_s
        counters.restored += restored.records
        counters.restore_s = took_s
        log.info(
            "state restored",
            pipeline=self._name,
            records=restored.records,
            keys=len(table),
            skipped=restored.skipped,
            took_s=round(took_s, 3),
            **facts,
        )

    def hasten(self) -> None:
        """See :class:`~service.consumers.base.StateKeeper`."""
        for changelog in self._changelogs:
            changelog.hasten()

    def release(self, partitions: Collection[TopicPartition]) -> None:
        """See :class:`~service.consumers.base.StateKeeper`."""
        for changelog in self._changelogs:
            for partition in partitions:
                changelog.store.release(partition)

    async def forget(self, partitions: Collection[TopicPartition]) -> None:
        """See :class:`~service.consumers.base.StateKeeper`."""
        gone = self._known.intersection(partitions)
        self._known -= gone
        for kept in self._handlers:
            for partition in gone:
                kept.store.forget(*partition)
                if kept.handler.revoked is not None:
                    await kept.handler.revoked(*partition)

    def look_after(self) -> None:
        """Remove what has expired, write down what has changed for no event, and count."""
        for kept in self._handlers:
            changelog, counters = kept.changelog, kept.counters
            if changelog is None:
                continue
            changelog.store.sweep()
            changelog.store.settle_timers()  # of handlers that nobody tells the time, too
            changelog.changed()
            counters.state_keys = changelog.store.keys()
            counters.state_evicted = changelog.store.evicted()
            counters.state_damaged = changelog.store.damaged()
            counters.changelog_lag = changelog.lag
