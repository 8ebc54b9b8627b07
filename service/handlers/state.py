"""What handlers remember between events: one interface, here kept in memory.

State belongs to a (pipeline, handler, topic, partition): whoever owns the partition owns its
state, so a key's state is wherever the key's events are.  A handler reads and writes through
:class:`KeyedState` and names the event that it works for; an implementation that writes a
changelog collects the changes under that event, and the runtime publishes them before the
event's offset is committed (:meth:`StateStore.take_changes`).  The one in this module keeps no
changelog: what it holds is gone with the process or the partition.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

PartitionId: TypeAlias = tuple[str, int]


class Place(Protocol):
    """Whose state is meant: an event, or a :class:`Partition` where there is none (timers)."""

    @property
    def topic(self) -> str:
        """Topic that the input is read from."""
        ...

    @property
    def partition(self) -> int:
        """Partition that the input is read from."""
        ...


class Partition(NamedTuple):
    """A place without an event: what timers name."""

    topic: str
    partition: int


class Change(NamedTuple):
    """One change to one key, as a changelog stores it."""

    store: str
    key: str
    value: Any
    """The value put, or ``None`` for a delete."""


class KeyedState(Protocol):
    """Values by key within a partition.

    Values are JSON (mappings, lists, text, numbers, booleans), because that is how they are made
    durable.  A value got may be changed in place, but only ``put`` makes the change count.  No
    call waits: what is not in memory is on a local disk.
    """

    def get(self, place: Place, key: str) -> Any:
        """The value last put under ``key``, or ``None``."""
        ...

    def put(self, place: Place, key: str, value: Any) -> None:
        """Remember ``value`` (not ``None``) under ``key``; starts its time to live anew."""
        ...

    def delete(self, place: Place, key: str) -> None:
        """Forget ``key``; no error if it is not there."""
        ...

    def items(self, place: Place) -> Iterator[tuple[str, Any]]:
        """Every key of the partition with its value; do not change the state meanwhile."""
        ...

    def partitions(self) -> Sequence[Partition]:
        """The partitions that have state here."""
        ...


class StateStore(Protocol):
    """The runtime's side of a handler's state: where :class:`KeyedState` comes from."""

    def keyed(self, name: str, *, ttl_s: float | None, max_keys: int) -> KeyedState:
        """The state called ``name``; the same object for the same name.

        Args:
            name: Distinguishes several states of one handler.
            ttl_s: Seconds after the last ``put`` until a key is forgotten; ``None`` is never.
            max_keys: Most keys per partition; beyond it the key put longest ago is forgotten.
        """
        ...

    def take_changes(self, place: Place) -> Sequence[Change]:
        """The changes made for ``place`` since the last call, in order; empty in memory."""
        ...

    def forget(self, topic: str, partition: int) -> None:
        """Drop a partition's state: it belongs to somebody else now."""
        ...


class MemoryState:
    """A :class:`KeyedState` in dictionaries, bounded by keys and by age.

    Keys leave in the order of their last ``put``, so both bounds cost O(1) a call.

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
        self._partitions: dict[PartitionId, dict[str, Any]] = {}
        self._put_at_s: dict[PartitionId, dict[str, float]] = {}
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
        partition = (place.topic, place.partition)
        values = self._partitions.setdefault(partition, {})
        values.pop(key, None)  # so that it moves to the end: dictionaries keep insertion order
        values[key] = value
        if self._ttl_s is not None:
            stamps = self._put_at_s.setdefault(partition, {})
            stamps.pop(key, None)
            stamps[key] = self._clock()
            self._expire(partition)
        if len(values) > self._max_keys:
            self._drop(partition, next(iter(values)))
            self.evicted += 1

    def delete(self, place: Place, key: str) -> None:
        """See :meth:`KeyedState.delete`."""
        self._drop((place.topic, place.partition), key)

    def items(self, place: Place) -> Iterator[tuple[str, Any]]:
        """See :meth:`KeyedState.items`."""
        partition = (place.topic, place.partition)
        if self._ttl_s is not None:
            self._expire(partition)
        return iter(self._partitions.get(partition, {}).items())

    def partitions(self) -> Sequence[Partition]:
        """See :meth:`KeyedState.partitions`."""
        return [Partition(*partition) for partition, values in self._partitions.items() if values]

    def forget(self, topic: str, partition: int) -> None:
        """Drop everything of a partition."""
        self._partitions.pop((topic, partition), None)
        self._put_at_s.pop((topic, partition), None)

    def _drop(self, partition: PartitionId, key: str) -> None:
        self._partitions.get(partition, {}).pop(key, None)
        if self._ttl_s is not None:
            self._put_at_s.get(partition, {}).pop(key, None)

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


class MemoryStateStore:
    """A :class:`StateStore` without a changelog.

    Args:
        clock: Seconds on a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._states: dict[str, MemoryState] = {}

    def keyed(self, name: str, *, ttl_s: float | None, max_keys: int) -> MemoryState:
        """See :meth:`StateStore.keyed`."""
        state = self._states.get(name)
        if state is None:
            state = self._states[name] = MemoryState(self._clock, ttl_s=ttl_s, max_keys=max_keys)
        return state

    def take_changes(self, place: Place) -> Sequence[Change]:
        """Nothing: memory keeps no changelog."""
        del place
        return ()

    def forget(self, topic: str, partition: int) -> None:
        """See :meth:`StateStore.forget`."""
        for state in self._states.values():
            state.forget(topic, partition)
