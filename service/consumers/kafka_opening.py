"""What has to be there before a partition is read: its producer, and what handlers remember of it.

Knows neither offsets nor the group: it is told which partitions come and go.
"""

import asyncio
from collections.abc import Collection
from functools import partial
from typing import Final

import structlog

from service.consumers.base import StateKeeper, TopicPartition, Transactions
from service.consumers.kafka_partition import HeldPartition
from service.delivery.backoff import Backoff
from service.delivery.budget import MemoryBudget
from service.errors import BrokerUnavailableError

log = structlog.get_logger(__name__)

AGAIN_FIRST_S: Final = 0.5
AGAIN_MAX_S: Final = 30.0
"""Wait before state that could not be read is asked for again: the first time, and in the end."""


class Opening:
    """Opens the partitions of one source, and lets go of them.

    Args:
        transactions: Has a producer for each partition; ``None`` without exactly-once delivery.
        state: Keeps what the handlers remember; ``None`` if none does.
        memory: The budget that the partitions are read within.

    Attributes:
        tasks: Parent of what restores state; ``None`` while no client lives.
    """

    def __init__(
        self,
        transactions: Transactions | None,
        state: StateKeeper | None,
        memory: MemoryBudget[TopicPartition],
    ) -> None:
        self.tasks: asyncio.TaskGroup | None = None
        self._memory = memory
        self._transactions = transactions
        self._state = state
        self._restoring: dict[TopicPartition, tuple[int, asyncio.Task[None]]] = {}
        self._moved: set[TopicPartition] = set()

    @property
    def keeps_state(self) -> bool:
        """Whether what handlers remember of the partitions is restored."""
        return self._state is not None and self._state.restores

    def reassigned(
        self, known: Collection[TopicPartition], assigned: Collection[TopicPartition]
    ) -> None:
        """Note which of the ``known`` partitions are not ours any more."""
        if self._state is not None:
            self._moved |= frozenset(known)
            self._moved -= frozenset(assigned)

    async def forget_moved(self) -> None:
        """Drop the state of partitions that belong to another member now."""
        if self._moved and self._state is not None:
            moved, self._moved = self._moved, set()
            await self._state.forget(moved)

    def opened(self, held: HeldPartition) -> bool:
        """Whether the state of a partition is there; restoring begins at the first call.

        It takes its time, and the source's other partitions are read meanwhile.
        """
        name = held.partition
        if self._state is None or self.tasks is None:
            return True
        epoch, task = self._restoring.get(name, (-1, None))
        if task is None or epoch != held.epoch:
            if task is not None:
                task.cancel()
            task = self.tasks.create_task(self._open(name), name=f"open {name}")
            self._restoring[name] = (held.epoch, task)
        if not task.done():
            return False
        del self._restoring[name]
        return not task.cancelled()

    def restoring(self, name: TopicPartition) -> bool:
        """Whether the state of a partition is being restored."""
        return name in self._restoring

    async def open_producers(self, names: Collection[TopicPartition]) -> None:
        """Start the partitions' producers, where :meth:`opened` has not done so.

        Raises:
            BrokerUnavailableError: If no broker answers in time.
        """
        if self._state is None:
            for name in names:
                await self._open(name)

    async def restore(self, name: TopicPartition) -> None:
        """Bring the state of a partition up to date once more.

        Raises:
            BrokerUnavailableError: If the state cannot be read in time.
        """
        if self._state is not None:
            await self._state.restore(name)

    def hasten(self) -> None:
        """There is no room for more: let what handlers remember be durable soon."""
        if self._state is not None:
            self._state.hasten()

    def release(self, name: TopicPartition) -> None:
        """Let go of the state of a partition."""
        if self._state is None:
            return
        restoring = self._restoring.pop(name, None)
        if restoring is not None:
            restoring[1].cancel()
        self._state.release([name])

    async def close(self, names: Collection[TopicPartition]) -> None:
        """Let go of the partitions' producers; what is not committed is discarded."""
        if self._transactions is not None:
            await self._transactions.close(names)

    def cancel(self) -> None:
        """Stop restoring."""
        for _, task in self._restoring.values():
            task.cancel()

    def clear(self) -> None:
        """The client is gone, and with it everything that was being restored."""
        self.tasks = None
        self._restoring.clear()

    async def _open(self, name: TopicPartition) -> None:
        """Start the partition's producer, then restore its state.

        In this order: the producer ends what an earlier owner's transaction left half written.
        """
        if self._transactions is not None:
            await self._transactions.open(name, partial(self._charge, name))
        if self._state is not None:
            await self._restored(self._state, name)

    async def _restored(self, state: StateKeeper, name: TopicPartition) -> None:
        """Restore until it succeeds: what holds one partition up is no reason to stop the others.

        A client that has no broker any more is found out by its own watchdog, which ends this too.
        """
        backoff = Backoff(initial_s=AGAIN_FIRST_S, max_s=AGAIN_MAX_S)
        while True:
            try:
                await state.restore(name)
            except BrokerUnavailableError as exc:
                wait_s = backoff.next_s()
                log.warning(
                    "state cannot be restored yet",
                    partition=str(name),
                    error=str(exc),
                    delay_s=round(wait_s, 2),
                )
                await asyncio.sleep(wait_s)
            else:
                return

    def _charge(self, name: TopicPartition, size_bytes: int) -> None:
        """Count what is held in memory beside the input of a partition."""
        if size_bytes > 0:
            self._memory.take(name, records=0, size_bytes=size_bytes)
        else:
            self._memory.give_back(name, records=0, size_bytes=-size_bytes)
