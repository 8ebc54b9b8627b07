"""What handlers remember between events, kept in memory only.

The interface is `service.state.keyed`; what is durable is `service.state.store`.  What is held
here is gone with the process or the partition: the state of handlers that declare none, and of
tests.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from service.state.keyed import Codec, Partition, PartitionId, Place, check_key
from service.state.table import SWEEP_SHARE


class MemoryState:
    """A :class:`KeyedState` in dictionaries, bounded by keys and by age.

    Keys leave in the order of their last ``put``, so both bounds cost O(1) a call.  A plain
    dictionary would walk over all that have left to find the first one.

    Args:
        clock: Seconds on a monotonic clock; the event loop's ``time``.
        ttl_s: As for :meth:`StateStore.keyed`.
        max_keys: As for :meth:`StateStore.keyed`.
    """

    def __init__(
        self, clock: Callable[[], float], *, ttl_s: float | None = None, max_keys: int = 1_000_000
    ) -> None:
        self._clock = clock
        self._ttl_s = ttl_s
        self._max_keys = max_keys
        self._partitions: dict[PartitionId, OrderedDict[str, Any]] = {}
        self._put_at_s: dict[PartitionId, OrderedDict[str, float]] = {}
        self._sweep_at_s = 0.0
        self.evicted = 0
        """Keys forgotten because there were more than ``max_keys``."""

    def get(self, place: Place, key: str) -> Any:
        """See :meth:`KeyedState.get`."""
        partition = (place.topic, place.partition)
        if self._ttl_s is not None:
            self._expire(partition)
        values = self._partitions.get(partition)
        return None if values is None else values.get(key)

    def put(self, place: Place, key: str, value: Any) -> None:
        """See :meth:`KeyedState.put`."""
        if type(key) is not str or not key.isascii():
            check_key(key)
        partition = (place.topic, place.partition)
        values = self._partitions.setdefault(partition, OrderedDict())
        values[key] = value
        values.move_to_end(key)
        if self._ttl_s is not None:
            stamps = self._put_at_s.setdefault(partition, OrderedDict())
            stamps[key] = self._clock()
            stamps.move_to_end(key)
            self._sweep()
            self._expire(partition)
        if len(values) > self._max_keys:
            self._drop(partition, next(iter(values)))
            self.evicted += 1

    def reader(self, place: Place) -> Callable[[str], Any]:
        """See :meth:`KeyedState.reader`."""
        return partial(self.get, place)

    def put_many(self, place: Place, values: Mapping[str, Any]) -> None:
        """See :meth:`KeyedState.put_many`."""
        for key, value in values.items():
            self.put(place, key, value)

    def delete(self, place: Place, key: str) -> None:
        """See :meth:`KeyedState.delete`."""
        self._drop((place.topic, place.partition), key)

    def items(self, place: Place) -> Iterator[tuple[str, Any]]:
        """See :meth:`KeyedState.items`."""
        partition = (place.topic, place.partition)
        if self._ttl_s is not None:
            self._expire(partition)
        return iter(self._partitions.get(partition, {}).items())

    def survey(
        self, place: Place, known: Callable[[Any], Any], stored: Callable[[bytes], Any]
    ) -> Iterator[tuple[str, Any]]:
        """See :meth:`KeyedState.survey`; every value is known here."""
        del stored
        return ((key, known(value)) for key, value in self.items(place))

    def undecided(self, place: Place, key: str) -> bool:
        """See :meth:`KeyedState.undecided`; nothing is undone here."""
        del place, key
        return False

    def partitions(self) -> Sequence[Partition]:
        """See :meth:`KeyedState.partitions`."""
        return [Partition(*partition) for partition, values in self._partitions.items() if values]

    def forget(self, topic: str, partition: int) -> None:
        """Drop everything of a partition."""
        self._partitions.pop((topic, partition), None)
        self._put_at_s.pop((topic, partition), None)

    def _drop(self, partition: PartitionId, key: str) -> None:
        _drop(self._partitions, partition, key)
        _drop(self._put_at_s, partition, key)

    def _sweep(self) -> None:
        """Expire the keys of partitions that nobody asks for any more, now and then."""
        if self._ttl_s is not None and self._clock() >= self._sweep_at_s:
            self._sweep_at_s = self._clock() + SWEEP_SHARE * self._ttl_s
            for partition in list(self._put_at_s):
                self._expire(partition)

    def _expire(self, partition: PartitionId) -> None:
        stamps = self._put_at_s.get(partition)
        if not stamps or self._ttl_s is None:
            return
        before_s = self._clock() - self._ttl_s
        while stamps:
            key = next(iter(stamps))
            if stamps[key] > before_s:
                return
            self._drop(partition, key)


def _drop(
    known: dict[PartitionId, OrderedDict[str, Any]], partition: PartitionId, key: str
) -> None:
    """Forget a key, and its partition with the last one: that may be a connection that is gone."""
    of_partition = known.get(partition)
    if of_partition is not None:
        of_partition.pop(key, None)
        if not of_partition:
            del known[partition]


class MemoryStateStore:
    """A :class:`StateStore` without a changelog.

    Args:
        clock: Seconds on a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._states: dict[str, MemoryState] = {}

    def keyed(
        self, name: str, *, ttl_s: float | None, max_keys: int, codec: Codec | None = None
    ) -> MemoryState:
        """See :meth:`StateStore.keyed`; nothing is encoded here."""
        del codec
        state = self._states.get(name)
        if state is None:
            state = self._states[name] = MemoryState(self._clock, ttl_s=ttl_s, max_keys=max_keys)
        return state

    def forget(self, topic: str, partition: int) -> None:
        """See :meth:`StateStore.forget`."""
        for state in self._states.values():
            state.forget(topic, partition)
