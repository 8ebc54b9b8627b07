"""One state of one partition: its values, when they were put, what the changelog lacks.

Keys are kept in the order of their last ``put``.  Dropping the first key of a Python dictionary
again and again takes quadratic time, because every look at the first one walks over those that
were dropped; so what has to leave leaves in runs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice, repeat
from typing import Any, Final

SWEEP_SHARE: Final = 0.05
"""Expired keys are removed at most so often, as a share of their time to live."""
EVICT_SHARE: Final = 0.01
"""Keys that leave at once when there are too many, as a share of the bound."""


class Table:
    """Values by key, bounded by number and by age.

    Args:
        clock: Seconds on a monotonic clock.
        ttl_s: Seconds after the last :meth:`put` until a key is gone; ``None`` is never.
        max_keys: Most keys; beyond it about 1 % of them leave, those put longest ago first.

    Attributes:
        values: The values; of expired keys too, until they are swept.
        dirty: Keys whose value the changelog does not have, in the order of their changes.
        logged: Whether there is a changelog, so that ``dirty`` counts.
        unsettled: Writes to the changelog that are under way.
        evicted: Keys that left because there were too many.
        next_offset: Up to where the changelog has been read.
    """

    __slots__ = (
        "_clock",
        "_max_keys",
        "_put_at_s",
        "_sweep_at_s",
        "_ttl_s",
        "dirty",
        "evicted",
        "logged",
        "next_offset",
        "unsettled",
        "values",
    )

    def __init__(self, clock: Callable[[], float], *, ttl_s: float | None, max_keys: int) -> None:
        self._clock = clock
        self._ttl_s = ttl_s
        self._max_keys = max_keys
        self._put_at_s: dict[str, float] = {}
        self._sweep_at_s = 0.0
        self.values: dict[str, Any] = {}
        self.dirty: dict[str, None] = {}
        self.logged = False
        self.unsettled = 0
        self.evicted = 0
        self.next_offset = 0

    @property
    def clean(self) -> bool:
        """Whether the changelog holds all of this."""
        return not self.dirty and not self.unsettled

    def __len__(self) -> int:
        """Keys held, those among them that have expired but were not swept."""
        return len(self.values)

    def peek(self, key: str) -> Any:
        """The value of ``key``, however old it is."""
        return self.values.get(key)

    def peek_many(self, keys: Iterable[str]) -> list[Any]:
        """:meth:`peek` for each of ``keys``."""
        return list(map(self.values.get, keys))

    def close(self) -> None:
        """Nobody will ask again."""

    def get(self, key: str) -> Any:
        """The value of ``key``, or ``None``."""
        if self._ttl_s is not None and self._expired(key):
            return None
        return self.values.get(key)

    def put(self, key: str, value: Any, age_s: float = 0.0) -> Any:
        """Set the value of ``key``; returns the one before, or ``None``.

        Args:
            key: The key.
            value: Not ``None``.
            age_s: How long ago it was really put.
        """
        values = self.values
        before = values.pop(key, None)  # so that it moves to the end
        values[key] = value
        if self._ttl_s is not None:
            now_s = self._clock()
            if before is not None and self._put_at_s.get(key, 0.0) <= now_s - self._ttl_s:
                before = None
            self._put_at_s.pop(key, None)
            self._put_at_s[key] = now_s - age_s
            if now_s >= self._sweep_at_s:
                self.sweep()
        if len(values) > self._max_keys:
            self._evict()
        return before

    def reader(self) -> Callable[[str], Any]:
        """:meth:`get`, or something quicker that does the same for a while.

        What expires within the run of events that it is made for does so with the next one.
        """
        values = self.values.get
        if self._ttl_s is None:
            return values
        before_s = self._clock() - self._ttl_s
        stamps = self._put_at_s.get
        return lambda key: values(key) if stamps(key, before_s) > before_s else None

    def put_many(self, values: Mapping[str, Any]) -> list[Any]:
        """:meth:`put` for each of ``values``; returns those before, or ``None`` for each."""
        mine = self.values
        if self._ttl_s is not None and len(mine) + len(values) > self._max_keys:
            return [self.put(key, value) for key, value in values.items()]  # some may leave
        before: list[Any] = list(map(mine.pop, values, repeat(None)))  # so that they move
        mine.update(values)
        if self._ttl_s is not None:
            before = self._stamp(values, before, self._ttl_s)
        if len(mine) > self._max_keys:
            self._evict()
        return before

    def _stamp(self, keys: Iterable[str], before: list[Any], ttl_s: float) -> list[Any]:
        """Note that ``keys`` were put now; returns ``before`` without what had expired."""
        now_s = self._clock()
        before_s = now_s - ttl_s
        stamps = self._put_at_s
        take = stamps.pop
        alive: list[Any] = []
        for key, value in zip(keys, before, strict=True):
            alive.append(value if take(key, before_s) > before_s else None)
            stamps[key] = now_s
        if now_s >= self._sweep_at_s:
            self.sweep()
        return alive

    def delete(self, key: str) -> Any:
        """Forget ``key``; returns its value, or ``None``."""
        before = None if self._ttl_s is not None and self._expired(key) else self.values.get(key)
        self._remove(key)
        return before

    def items(self) -> Iterator[tuple[str, Any]]:
        """Every key with its value."""
        self.sweep()
        return iter(self.values.items())

    def sweep(self) -> int:
        """Remove every expired key; returns how many there were."""
        if self._ttl_s is None:
            return 0
        now_s = self._clock()
        self._sweep_at_s = now_s + SWEEP_SHARE * self._ttl_s
        before_s = now_s - self._ttl_s
        expired: list[str] = []
        for key, put_at_s in self._put_at_s.items():
            if put_at_s > before_s:
                break
            expired.append(key)
        for key in expired:
            self._remove(key)
            if self.logged:
                self.dirty[key] = None
        return len(expired)

    def take_dirty(self) -> dict[str, None]:
        """The keys that the changelog lacks, which it is about to get."""
        dirty, self.dirty = self.dirty, {}
        return dirty

    def _expired(self, key: str) -> bool:
        put_at_s = self._put_at_s.get(key)
        return put_at_s is None or self._clock() - put_at_s >= (self._ttl_s or 0.0)

    def _evict(self) -> None:
        count = max(1, int(self._max_keys * EVICT_SHARE), len(self.values) - self._max_keys)
        leaving = list(islice(self.values, count))
        for key in leaving:
            self._remove(key)
            if self.logged:
                self.dirty[key] = None
        self.evicted += len(leaving)

    def _remove(self, key: str) -> None:
        self.values.pop(key, None)
        self._put_at_s.pop(key, None)
