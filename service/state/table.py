"""One state of one partition: its values, when they were put, what the changelog lacks.

Keys are kept in the order of their last ``put``.  Dropping the first key of a Python dictionary
again and again takes quadratic time, because every look at the first one walks over those that
were dropped; so what has to leave leaves in runs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice, repeat
from typing import Any, Final

import structlog

from service.errors import StateTypeError
from service.state.records import Serde, serde

log = structlog.get_logger(__name__)

SWEEP_SHARE: Final = 0.05
"""Expired keys are removed at most so often, as a share of their time to live."""
EVICT_SHARE: Final = 0.01
"""Keys that leave at once when there are too many, as a share of the bound."""
JSON: Final = serde(None)
"""How values look that have no codec."""
NO_BYTES: Final = "a value of keyed state is JSON: bytes have to be text, such as base64"


class Table:
    """Values by key, bounded by number and by age.

    What was restored stays as the changelog had it, which is ``bytes`` and no value is, until
    somebody asks for it.

    Args:
        clock: Seconds on a monotonic clock.
        ttl_s: Seconds after the last :meth:`put` until a key is gone; ``None`` is never.
        max_keys: Most keys; beyond it about 1 % of them leave, those put longest ago first.
        serde: Of its values; JSON if not given.

    Attributes:
        values: The values, or their bytes; of expired keys too, until they are swept.
        dirty: Keys whose value the changelog does not have, in the order of their changes; the
            values here mean nothing.
        logged: Whether there is a changelog, so that ``dirty`` counts.
        unsettled: Writes to the changelog that are under way, or were dropped.
        damaged: Keys whose bytes could not be decoded when somebody asked; they are gone.
        evicted: Keys that left because there were too many.
        next_offset: Up to where the changelog has been read.
    """

    __slots__ = (
        "_clock",
        "_max_keys",
        "_put_at_s",
        "_serde",
        "_stored",
        "_sweep_at_s",
        "_ttl_s",
        "damaged",
        "dirty",
        "evicted",
        "logged",
        "next_offset",
        "unsettled",
        "values",
    )

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        ttl_s: float | None,
        max_keys: int,
        serde: Serde = JSON,
    ) -> None:
        self._clock = clock
        self._serde = serde
        self._stored = 0  # how many of the values are bytes
        self._ttl_s = ttl_s
        self._max_keys = max_keys
        self._put_at_s: dict[str, float] = {}
        self._sweep_at_s = 0.0
        self.values: dict[str, Any] = {}
        self.dirty: dict[str, object] = {}
        self.logged = False
        self.unsettled = 0
        self.damaged = 0
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
        value = self.values.get(key)
        return self._decode(key, value) if type(value) is bytes else value

    def peek_many(self, keys: Iterable[str]) -> list[Any]:
        """:meth:`peek` for each of ``keys``."""
        if self._stored:
            return list(map(self.peek, keys))
        return list(map(self.values.get, keys))

    def close(self) -> None:
        """Nobody will ask again."""

    def get(self, key: str) -> Any:
        """The value of ``key``, or ``None``."""
        if self._ttl_s is not None and self._expired(key):
            return None
        value = self.values.get(key)
        return self._decode(key, value) if type(value) is bytes else value

    def load(self, changes: Mapping[str, tuple[bytes | None, float]]) -> None:
        """Take over what the changelog says of some keys, in the order of the changes.

        There may be too many then, and old ones, until :meth:`keep_bounds`.

        Args:
            changes: By key, the bytes of its value, or ``None`` if it was deleted, and how many
                seconds ago that was.
        """
        values, stamps, ttl_s = self.values, self._put_at_s, self._ttl_s
        now_s = self._clock()
        known = bool(values)
        loaded = 0
        for key, (stored, age_s) in changes.items():
            if known:
                self._remove(key)  # so that it moves to the end
            if stored is None:
                continue
            values[key] = stored
            loaded += 1
            if ttl_s is not None:
                stamps[key] = now_s - max(0.0, age_s)
        self._stored += loaded

    def keep_bounds(self) -> None:
        """Let go of what is too old, if it is time to look, and of what is too much."""
        if self._clock() >= self._sweep_at_s:
            self.sweep()
        if len(self) > self._max_keys:
            self._evict()

    def put(self, key: str, value: Any) -> Any:
        """Set the value of ``key``, not to ``None``; returns the one before, or ``None``.

        Raises:
            StateTypeError: If the value is ``bytes``, which no JSON is.
        """
        if type(value) is bytes:
            raise StateTypeError(NO_BYTES)
        if self._stored:
            self.peek(key)
        values = self.values
        before = values.pop(key, None)  # so that it moves to the end
        values[key] = value
        if self._ttl_s is not None:
            now_s = self._clock()
            if before is not None and self._put_at_s.get(key, 0.0) <= now_s - self._ttl_s:
                before = None
            self._put_at_s.pop(key, None)
            self._put_at_s[key] = now_s
            if now_s >= self._sweep_at_s:
                self.sweep()
        if len(values) > self._max_keys:
            self._evict()
        return before

    def reader(self) -> Callable[[str], Any]:
        """:meth:`get`, or something quicker that does the same for a while.

        What expires within the run of events that it is made for does so with the next one.
        """
        if self._stored:
            return self.get
        values = self.values.get
        if self._ttl_s is None:
            return values
        before_s = self._clock() - self._ttl_s
        stamps = self._put_at_s.get
        return lambda key: values(key) if stamps(key, before_s) > before_s else None

    def put_many(self, values: Mapping[str, Any]) -> list[Any]:
        """:meth:`put` for each of ``values``; returns those before, or ``None`` for each.

        Raises:
            StateTypeError: If a value is ``bytes``; nothing is put then.
        """
        if bytes in set(map(type, values.values())):
            raise StateTypeError(NO_BYTES)
        mine = self.values
        if self._stored:
            self.peek_many(values)
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
        before = self.get(key)
        self._remove(key)
        return before

    def items(self) -> Iterator[tuple[str, Any]]:
        """Every key with its value."""
        self.sweep()
        if self._stored:
            self.peek_many(list(self.values))
        return iter(self.values.items())

    def survey(
        self, known: Callable[[Any], Any], stored: Callable[[bytes], Any]
    ) -> Iterator[tuple[str, Any]]:
        """See :meth:`service.state.keyed.KeyedState.survey`."""
        self.sweep()
        doubtful: list[str] = []
        for key, value in self._held():
            if type(value) is bytes:
                try:
                    yield key, stored(value)
                except (ValueError, TypeError, LookupError):
                    doubtful.append(key)
            else:
                yield key, known(value)
        for key in doubtful:
            value = self.peek(key)
            if value is not None:
                yield key, known(value)

    def _held(self) -> Iterator[tuple[str, Any]]:
        """Every key with its value, or the bytes of it."""
        return iter(self.values.items())

    def sweep(self) -> int:
        """Remove every expired key; returns how many there were."""
        if self._ttl_s is None:
            return 0
        now_s = self._clock()
        self._sweep_at_s = now_s + SWEEP_SHARE * self._ttl_s
        expired = self._put_by(now_s - self._ttl_s)
        self._forget(expired)
        return len(expired)

    def take_dirty(self) -> dict[str, object]:
        """The keys that the changelog lacks, which it is about to get."""
        dirty, self.dirty = self.dirty, {}
        return dirty

    def _expired(self, key: str) -> bool:
        put_at_s = self._put_at_s.get(key)
        return put_at_s is None or self._clock() - put_at_s >= (self._ttl_s or 0.0)

    def _evict(self) -> None:
        count = max(1, int(self._max_keys * EVICT_SHARE), len(self) - self._max_keys)
        leaving = self._oldest(count)
        self._forget(leaving)
        self.evicted += len(leaving)

    def _put_by(self, at_s: float) -> list[str]:
        """Keys that were put at ``at_s`` or before, oldest first."""
        keys: list[str] = []
        for key, put_at_s in self._put_at_s.items():
            if put_at_s > at_s:
                break
            keys.append(key)
        return keys

    def _oldest(self, count: int) -> list[str]:
        """The ``count`` keys that were put longest ago."""
        return list(islice(self.values, count))

    def _forget(self, keys: Iterable[str]) -> None:
        """Remove keys that nobody has deleted, so that the changelog hears of it."""
        for key in keys:
            self._remove(key)
            if self.logged:
                self.dirty[key] = None

    def _remove(self, key: str) -> None:
        if type(self.values.pop(key, None)) is bytes:
            self._stored -= 1
        self._put_at_s.pop(key, None)

    def _decode(self, key: str, stored: bytes) -> Any:
        """The value that ``stored`` is, from now on in its place; ``None`` if it is damaged."""
        value = self._deserialize(key, stored)
        if value is None:
            self._remove(key)
        else:
            self._stored -= 1
            self.values[key] = value
        return value

    def _deserialize(self, key: str, stored: bytes) -> Any:
        """A value of ``key``; ``None``, which nobody has ever put, if it is damaged."""
        try:
            value = self._serde.deserialize(stored)
        except (ValueError, TypeError, LookupError) as exc:
            log.error("state value cannot be decoded", key=key, reason=repr(exc))  # noqa: TRY400
            value = None
        self.damaged += value is None
        return value
