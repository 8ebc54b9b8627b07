"""Takes fetched record batches out of the client's prefetch buffer, undecoded.

The client's public ``getmany`` builds a ``ConsumerRecord`` per record (about 1 µs each), loses
records when one partition's data is damaged, and waits for rebalances without a limit.  The tap
reads the same buffer directly: a batch is decoded once, by us, when there is room for it, and
the next fetch is on the wire while this one is processed.

The private names of the consumer's fetch path that it reads are listed in :data:`PRIVATE_NAMES`,
a test pins them, and :func:`make_tap` falls back to ``getmany`` when an upgrade of the client has
moved one of them.
"""

import asyncio
from collections.abc import Collection
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError

from service.consumers.base import (
    ClientFailedError,
    Fetched,
    OffsetGoneError,
    TopicPartition,
    TopicsRefusedError,
)
from service.consumers.kafka_abort_markers import is_abort, read_on_behind_empty_markers
from service.consumers.kafka_batches import Batch, Decoded
from service.consumers.kafka_checksum import StoredBatches, is_whole, remember_bytes
from service.consumers.kafka_damage import end_of
from service.consumers.kafka_runs import StoredRun, take_whole
from service.consumers.room import first_of

PRIVATE_NAMES: Final = {
    "AIOKafkaConsumer": ("_fetcher", "_coordinator", "_subscription", "_client"),
    "Fetcher": ("_records", "_wait_consume_future", "_notify", "_create_fetch_waiter"),
    "FetchResult": ("_partition_records", "_update_position", "_assignment", "check_assignment"),
    "FetchError": ("_error",),
    "PartitionRecords": (
        "_records",
        "_records_iterator",
        "_isolation_level",
        "_aborted_transactions",
        "_consume_aborted_up_to",
        "_aborted_producers",
        "next_fetch_offset",
    ),
}
"""What is read of the client beyond its public names, by class."""


class Tap(Protocol):
    """Where fetched batches come out of the client."""

    def arrived(self) -> Collection[TopicPartition]:
        """See :meth:`service.consumers.base.ConsumerClient.arrived`."""
        ...

    def take(self, partitions: Collection[TopicPartition]) -> list[Fetched]:
        """See :meth:`service.consumers.base.ConsumerClient.take`."""
        ...

    async def wait(self, timeout_s: float, until: asyncio.Future[None] | None = None) -> None:
        """See :meth:`service.consumers.base.ConsumerClient.wait`."""
        ...


def make_tap(consumer: AIOKafkaConsumer) -> Tap:
    """The fastest tap that this version of the client allows; ``consumer`` must be started."""
    read_on_behind_empty_markers()
    fetcher = getattr(consumer, "_fetcher", None)
    if all(hasattr(fetcher, name) for name in PRIVATE_NAMES["Fetcher"]):
        remember_bytes()
        return PrefetchTap(consumer)
    return GetmanyTap(consumer)


class PrefetchTap:
    """Reads the prefetch buffer directly."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._fetcher: Any = consumer._fetcher  # noqa: SLF001 -- see the module's docstring
        self._coordinator = consumer._coordinator  # noqa: SLF001
        self._subscription = consumer._subscription  # noqa: SLF001
        # Where a checksum differed.  What was damaged on its way is whole when it is read again.
        self._doubted: dict[TopicPartition, int] = {}

    def arrived(self) -> Collection[TopicPartition]:
        """What is in the buffer, errors too; the client's names of partitions equal ours."""
        names: Collection[TopicPartition] = self._fetcher._records.keys()  # noqa: SLF001
        return names

    def take(self, partitions: Collection[TopicPartition]) -> list[Fetched]:
        """Take everything fetched for ``partitions``; the client fetches on at once."""
        if self._coordinator is not None:
            try:
                self._coordinator.check_errors()
            except KafkaError as exc:
                raise ClientFailedError(f"group coordination: {exc!r}") from exc
        with self._subscription.fetch_context():
            pass  # tells the client that it is being polled
        if self._subscription.reassignment_in_progress:
            return []
        buffer = self._fetcher._records  # noqa: SLF001
        taken: list[Fetched] = []
        if not partitions:
            return taken
        wanted = [key for key in buffer if key in partitions]
        # errors first: one that was raised behind a batch already taken would lose that batch
        wanted.sort(key=lambda key: type(buffer[key]) is FetchResult)
        for key in wanted:
            result = buffer.pop(key)
            self._fetcher._notify(self._fetcher._wait_consume_future)  # noqa: SLF001
            partition = TopicPartition(key.topic, key.partition)
            if type(result) is not FetchResult:
                _raise_fetch_error(partition, result._error)  # noqa: SLF001
            source: Any = result._partition_records  # noqa: SLF001
            # The client's iterator and what it iterates over refer to each other: without this,
            # all that is fetched would stay until the collector of cycles looks.
            source._records_iterator = None  # noqa: SLF001
            if result.check_assignment(key) and result.has_more():
                fetched = _split(partition, result, self._doubted)
                if fetched.batches:
                    taken.append(fetched)
        return taken

    async def wait(self, timeout_s: float, until: asyncio.Future[None] | None = None) -> None:
        """Wait for the next answer to a fetch."""
        waiter = self._fetcher._create_fetch_waiter()  # noqa: SLF001
        try:
            await first_of((waiter,), until, timeout_s)
        finally:
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # the next take() reports it
            else:
                waiter.cancel()


def _raise_fetch_error(partition: TopicPartition, error: Exception) -> None:
    if isinstance(error, OffsetOutOfRangeError):
        offsets: dict[Any, int] = error.args[0] if error.args else {}
        raise OffsetGoneError(partition, next(iter(offsets.values()), -1)) from error
    if isinstance(error, TopicAuthorizationFailedError):
        raise TopicsRefusedError([partition.topic]) from error
    raise ClientFailedError(f"fetching {partition}: {error!r}") from error


def _split(partition: TopicPartition, result: Any, doubted: dict[TopicPartition, int]) -> Fetched:
    """Cut one partition's answer into its stored batches and move the client's position on.

    Aborted transactions and control batches become empty batches: they cover offsets, so that
    commits can move across them, but hold no records.  The answer ends at a damaged batch: it is
    read a second time before it is believed to be damaged, and what lies behind it is asked for
    again, because the batch may have been the marker that ends an aborted transaction.

    Args:
        partition: Whose answer.
        result: The answer.
        doubted: Where a checksum differed when it was read for the first time; kept here.
    """
    source = result._partition_records  # noqa: SLF001
    state = result._assignment.state_value(client_partition(partition))  # noqa: SLF001
    limit: int = state.highwater
    position: int = source.next_fetch_offset
    stored = source._records  # noqa: SLF001
    size_bytes: int = stored.size_in_bytes()
    aborted = _may_hold_aborted(source)
    batches: list[Batch | StoredRun] = []
    end = position
    cut_by_us = type(stored) is StoredBatches
    while stored.has_next():
        # what belongs to an aborted transaction only the client can tell, batch by batch
        if cut_by_us and not aborted and (whole := take_whole(partition, stored, end, limit)):
            batches += whole
            end = whole[-1].next_offset
            continue
        raw, damage = _next(stored, end, limit)
        if damage is not None:
            if doubted.get(partition) == end:
                del doubted[partition]
                covered = _end_of_damaged(raw, stored, end, limit)
                batches.append(Batch(partition, None, end, covered, damage))
                end = covered
            else:
                doubted[partition] = end
            break
        wanted = not raw.is_control_batch
        if aborted and raw.producer_id is not None and raw.producer_id >= 0:
            wanted = _committed(source, raw) and wanted
            aborted = _may_hold_aborted(source)  # no longer, once the last one has ended
        first_offset = getattr(raw, "base_offset", end)  # batches of old formats do not tell it
        end = raw.next_offset
        batches.append(Batch(partition, raw if wanted else None, first_offset, end))
    if batches:
        source.next_fetch_offset = end
        span = max(1, end - batches[0].first_offset)
        for batch in batches:
            covered = batch.next_offset - batch.first_offset
            batch.size_bytes = size_bytes * covered // span
    result._update_position()  # noqa: SLF001
    return Fetched(partition, position, batches)


def _next(stored: Any, end: int, limit: int) -> tuple[Any, str | None]:
    """The next stored batch, if there is one at all, and what is wrong with it.

    Args:
        stored: Holds at least one more.
        end: One past the offsets of the batches before it.
        limit: One past the last offset of the log.
    """
    try:
        raw = stored.next_batch()
        if not is_whole(stored, raw):
            return raw, "checksum differs"
        if not end < raw.next_offset <= limit:
            return raw, "its offset does not belong here"  # which the checksum does not cover
    except Exception as exc:  # noqa: BLE001 -- the client's decoder raises whatever it likes
        return None, repr(exc)
    return raw, None


def _end_of_damaged(raw: Any, stored: Any, end: int, limit: int) -> int:
    """Where a damaged batch ends; takes the one behind it, if there is one, from ``stored``."""
    ends = range(end + 1, limit + 1)
    if raw is None:
        return ends.start
    behind = _next(stored, end, limit)[0] if stored.has_next() else None
    return end_of(raw, following=getattr(behind, "base_offset", None), ends=ends)


def _may_hold_aborted(source: Any) -> bool:
    """Whether anything in an answer may belong to an aborted transaction."""
    return source._isolation_level == READ_COMMITTED and bool(  # noqa: SLF001
        source._aborted_transactions or source._aborted_producers  # noqa: SLF001
    )


def _committed(source: Any, raw: Any) -> bool:
    """Whether a transactional batch may be read: false inside an aborted transaction."""
    source._consume_aborted_up_to(raw.base_offset)  # noqa: SLF001
    aborted: set[int] = source._aborted_producers  # noqa: SLF001
    if raw.is_control_batch:
        if is_abort(raw):
            aborted.discard(raw.producer_id)
        return False
    return not (raw.is_transactional and raw.producer_id in aborted)


class GetmanyTap:
    """The public way, for a client whose private names have moved: slower, same guarantees."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._buffer: dict[TopicPartition, list[Any]] = {}

    def arrived(self) -> Collection[TopicPartition]:
        """What :meth:`wait` has read anything of."""
        return self._buffer.keys()

    def take(self, partitions: Collection[TopicPartition]) -> list[Fetched]:
        """What :meth:`wait` has read for ``partitions``."""
        taken = [partition for partition in self._buffer if partition in partitions]
        return [
            Fetched(partition, records[0].offset, [Decoded(records)])
            for partition in taken
            if (records := self._buffer.pop(partition))
        ]

    async def wait(self, timeout_s: float, until: asyncio.Future[None] | None = None) -> None:
        """Poll once; never cancelled half-way by us, since that would lose records."""
        if self._buffer:
            await first_of((), until, timeout_s)
            return
        try:
            answer = await self._consumer.getmany(
                timeout_ms=int(timeout_s * 1000), max_records=2_000
            )
        except OffsetOutOfRangeError as exc:
            key, position = next(iter(exc.args[0].items()))
            raise OffsetGoneError(TopicPartition(key.topic, key.partition), position) from exc
        except KafkaError as exc:
            raise ClientFailedError(repr(exc)) from exc
        for key, records in answer.items():
            self._buffer[TopicPartition(key.topic, key.partition)] = records


def client_partition(partition: TopicPartition) -> ClientPartition:
    """Our partition as the client's own type."""
    return ClientPartition(partition.topic, partition.partition)
