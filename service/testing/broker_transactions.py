"""Transactions of the broker in memory: atomic, and fenced by the newest owner of an id."""

import asyncio
from collections.abc import Callable, Mapping

from service.consumers.base import CommittedOffset, TopicPartition
from service.errors import FencedError
from service.events import Permission
from service.publishers.base import BatchWriter, ProduceFailedError, ProduceUnknownError
from service.testing.broker import Commit, MemoryBroker
from service.testing.broker_clients import MemoryBatchWriter, MemoryProducer


class MemoryTransactions(MemoryProducer):
    """A :class:`~service.publishers.base.TransactionalClient` of a broker in memory.

    What is sent is stored when the transaction commits, all of it in one step; readers of the
    broker in memory see committed records only.

    Args:
        broker: The broker.
        transactional_id: Starting a client fences the earlier ones with this id.
    """

    def __init__(self, broker: MemoryBroker, transactional_id: str) -> None:
        super().__init__(broker)
        self._id = transactional_id
        self._epoch = 0
        self._sent: list[tuple[str, int, MemoryBatchWriter]] | None = None
        self._offsets: dict[tuple[str, TopicPartition], CommittedOffset] = {}

    async def start(self) -> None:
        """See :meth:`service.publishers.base.ProducerClient.start`."""
        await super().start()
        epochs = self._broker.transactional_epochs
        self._epoch = epochs[self._id] = epochs.get(self._id, 0) + 1

    async def send(
        self,
        topic: str,
        partition: int,
        batch: BatchWriter,
        *,
        permission: Callable[[], Permission] | None = None,
    ) -> "asyncio.Future[int]":
        """See :meth:`service.publishers.base.ProducerClient.send`."""
        if not isinstance(batch, MemoryBatchWriter):
            raise TypeError("a batch of another client")
        outcome: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if self._sent is None:
            outcome.set_exception(ProduceFailedError("not in a transaction"))
        elif not self._there(topic, partition):
            outcome.set_exception(ProduceFailedError("not queued: there is no such partition"))
        elif batch.size_bytes > self._broker.topics[topic].max_message_bytes:
            outcome.set_exception(ProduceFailedError("the batch is too large", too_large=True))
        elif permission is not None and permission() is not Permission.GO:
            outcome.set_exception(ProduceFailedError("its partition was lost"))
        else:
            self._sent.append((topic, partition, batch))
            outcome.set_result(0)
        return outcome

    async def begin(self) -> None:
        """See :meth:`service.publishers.base.TransactionalClient.begin`."""
        self._check()
        self._sent = []
        self._offsets = {}

    async def send_offsets(
        self, group: str, offsets: Mapping[tuple[str, int], tuple[int, str]]
    ) -> None:
        """See :meth:`service.publishers.base.TransactionalClient.send_offsets`."""
        self._check()
        for partition, offset in offsets.items():
            self._offsets[group, TopicPartition(*partition)] = CommittedOffset(*offset)

    async def commit(self) -> None:
        """See :meth:`service.publishers.base.TransactionalClient.commit`."""
        self._check()
        sent, self._sent = self._sent or [], None
        for topic, partition, batch in sent:
            self._store(topic, partition, batch)
        for (group, place), offset in self._offsets.items():
            self._broker.group(group).offsets[place] = offset
            self._broker.commits.append(Commit(group, place, offset))

    async def abort(self) -> None:
        """See :meth:`service.publishers.base.TransactionalClient.abort`."""
        self._sent = None

    def _check(self) -> None:
        if self._broker.down:
            raise ProduceUnknownError("the broker is down")
        if self._broker.transactional_epochs.get(self._id) != self._epoch:
            raise FencedError(f"{self._id} has a newer owner")
