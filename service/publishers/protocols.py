"""What a writer of results needs of others: a publisher and a changelog.

Protocols only, so that a writer knows none of those who do it.
"""

from collections.abc import Awaitable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from service.events import RecordBatch
from service.publishers.base import Row, TopicInfo
from service.publishers.runs import Entry, Run


class Publisher(Protocol):
    """Where a writer's records go; see :class:`service.publishers.kafka.KafkaPublisher`."""

    @property
    def topics(self) -> Mapping[str, TopicInfo]:
        """Topics that :meth:`add` takes."""
        ...

    async def learn(self, topic: str) -> None:
        """Make ``topic`` one of :attr:`topics`."""
        ...

    def max_record_bytes(self, topic: str) -> int:
        """Largest record that ``topic`` takes."""
        ...

    def partition_for(self, topic: str, key: bytes | None, spare: int) -> int:
        """The partition of ``key``, or ``spare`` without one."""
        ...

    def partitions_for(self, topic: str, keys: Sequence[bytes | None], spare: int) -> Sequence[int]:
        """:meth:`partition_for` of each of ``keys``."""
        ...

    def add(self, topic: str, partition: int, entry: Entry) -> None:
        """Queue a record."""
        ...

    def add_run(self, topic: str, partition: int, run: Run, rows: Sequence[Row]) -> None:
        """Queue records in order; ``run`` has a place for each of ``rows``."""
        ...

    def added(self, *, urgent: bool) -> None:
        """A run of :meth:`add` has ended."""
        ...

    @property
    def full(self) -> bool:
        """Whether :meth:`room` would wait; to be asked in the step of :meth:`added`."""
        ...

    @property
    def tight(self) -> bool:
        """Whether so little may be queued that :meth:`room` is to be awaited at each record."""
        ...

    def room(self) -> Awaitable[None]:
        """What to await before more is added; to be asked for in the step of :meth:`added`."""
        ...


class StateChanges(Protocol):
    """What of a handler's state waits for its results; see `service.publishers.changelog`."""

    @property
    def unwritten(self) -> AbstractSet[tuple[RecordBatch, int]]:
        """Records with changes whose results are not queued yet."""
        ...

    def wrote(self, batch: RecordBatch, index: int, results: int) -> None:
        """The results of such a record are queued."""
        ...

    def dropped(self, batch: RecordBatch, index: int) -> None:
        """Such a record is not ours any more."""
        ...

    def results_stored(self, runs: Sequence[Run], owner: object) -> None:
        """Results are durable, or have become dead letters."""
        ...
