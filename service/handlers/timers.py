"""Timers by key that survive restarts: kept in a state, so they come back with it.

A timer is an entry of a state, and the heap here is only an index of it, rebuilt whenever a
partition is assigned.  So setting one counts when its event counts, is undone when the event's
attempt is undone, and moves with the partition; a timer is due when its entry still says so.
The heap has one moment a key, that of its timer or an earlier one: a timer that every event puts
off would otherwise leave an entry for each of them, to be kept and gone through.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import structlog

from service.clock import LATEST_MS
from service.errors import FatalError, PermanentError, StateTypeError, TransientError, words_of
from service.events import Event, Result, SameKey
from service.handlers.results import PartitionResult, to_results
from service.state.keyed import KeyedState, Partition, PartitionId, Place
from service.windows.agenda import Agenda
from service.windows.watermark import BEFORE_ALL_MS, Watermark

log = structlog.get_logger(__name__)

FIRED_PER_TICK: Final = 10_000
"""Most timers of a partition that go off in one tick; the others follow in the next.

Nor does any go off in it once there are as many results: then the next tick comes at once.
"""

FORGOTTEN_AFTER_S: Final = 3600.0
"""Silence after which a connection of a source without a timer or a window is taken to be gone."""

_TIMER: Final = "t/"
_NEWEST: Final = "newest"


def checked_ms(at_ms: Any) -> int:
    """``at_ms``, which a handler has computed from what it was sent, as a time.

    Raises:
        PermanentError: If it is none; what is kept for a partition would not be in order.
    """
    if isinstance(at_ms, bool) or not isinstance(at_ms, (int, float)):
        raise PermanentError(f"a time is a number of milliseconds, not {type(at_ms).__name__}")
    if not -LATEST_MS <= at_ms <= LATEST_MS:  # nor is NaN
        raise PermanentError("a time is beyond the year 9999: are these milliseconds?")
    return int(at_ms)


class Timer(NamedTuple):
    """A timer that has gone off.

    Attributes:
        place: Its partition; what to name when reading and changing state.
        key: Its key.
        at_ms: The moment that it was set to, in ms since the epoch.
    """

    place: Partition
    key: str
    at_ms: int


GoOff = Callable[[Timer], Any]
"""What a timer does: returns what a handler may return, for the handler's output."""
Unread = Callable[[str, int], bool]
"""Whether an input partition, by topic and number, has records that are not durable here."""


class KeyTimers:
    """Timers in processing time: due when the wall clock says so.

    They go off with the handler's ticks, once a second, and never during a call.  One that
    raises :class:`~service.errors.TransientError` stays and is tried again a tick later, one that
    raises :class:`~service.errors.FatalError` ends the process; any other error is logged and the
    timer is gone.

    Args:
        state: Where they are kept; used for nothing else.
        go_off: Called for each that is due.  What it changes in states of the handler is
            published with what it returns.
        wall_ms: The wall clock at 0 of the ticks' clock, in ms since the epoch: it is asked once,
            so a wall clock that is set back does not hold anything up.
    """

    def __init__(self, state: KeyedState, go_off: GoOff, *, wall_ms: int) -> None:
        self._state = state
        self._go_off = go_off
        self._wall_ms = wall_ms
        self._due: dict[PartitionId, Agenda] = {}
        self._assigned: set[PartitionId] = set()  # by the group; others are connections of a source

    def set(self, place: Place, key: str, at_ms: int) -> None:
        """Let the timer of ``key`` go off at ``at_ms``, whatever it was set to before.

        Args:
            place: The event that this is done for, or the partition of a timer that went off.
            key: Each has one timer.
            at_ms: Milliseconds since the epoch; in the past is due at once.

        Raises:
            StateTypeError: If ``key`` is no text.
            PermanentError: If ``at_ms`` is no time up to the year 9999.
        """
        at_ms = checked_ms(at_ms)
        if not isinstance(key, str):
            raise StateTypeError(f"the key of a timer is text, not {type(key).__name__}")
        self._state.put(place, _TIMER + key, at_ms)
        self._index(Partition(place.topic, place.partition)).add(at_ms, key)

    def clear(self, place: Place, key: str) -> None:
        """Let the timer of ``key`` never go off; no error if there is none."""
        self._state.delete(place, _TIMER + key)

    def when(self, place: Place, key: str) -> int | None:
        """What the timer of ``key`` is set to, if there is one."""
        at_ms: int | None = self._state.get(place, _TIMER + key)
        return at_ms

    # -- what the runtime says -----------------------------------------------------------------

    def assigned(self, topic: str, partition: int) -> None:
        """The state of a partition is here: find out what it holds."""
        self.revoked(topic, partition)
        self._assigned.add((topic, partition))
        self._index(Partition(topic, partition))

    def revoked(self, topic: str, partition: int) -> None:
        """Somebody else has the partition now."""
        self._assigned.discard((topic, partition))
        self._due.pop((topic, partition), None)

    def tick(self, now_s: float, most: int = FIRED_PER_TICK) -> list[PartitionResult]:
        """The results of what has become due.

        Args:
            now_s: The event loop's time.
            most: No timer goes off any more in this tick when there are so many results.
        """
        results: list[PartitionResult] = []
        for place in list(self._due):
            time_ms = self._time_ms(place, now_s)
            results.extend(self._fire(Partition(*place), time_ms, most - len(results)))
            if not self._due[place] and place not in self._assigned:
                self._let_go(Partition(*place), now_s)
        return results

    def _let_go(self, place: Partition, now_s: float) -> None:
        """Forget a connection that has no timer; it is known again by the next that it sets."""
        del now_s
        del self._due[place]

    def _time_ms(self, place: PartitionId, now_s: float) -> int:
        """What time it is in a partition."""
        del place
        return self._wall_ms + int(now_s * 1000)

    def _index(self, place: Partition) -> Agenda:
        index = self._due.get(place)
        if index is None:
            index = self._due[place] = Agenda(
                (at_ms, key.removeprefix(_TIMER))
                for key, at_ms in self._state.items(place)
                if key.startswith(_TIMER)
            )
        return index

    def _fire(self, place: Partition, time_ms: int, most: int) -> list[PartitionResult]:
        index = self._due[place]
        results: list[PartitionResult] = []
        again: list[tuple[int, str]] = []
        for _ in range(FIRED_PER_TICK):
            key = index.take(time_ms) if len(results) < most else None
            if key is None:
                break
            at_ms = self.when(place, key)
            if at_ms is None or at_ms > time_ms:  # cleared, undone or put off
                if self._state.undecided(place, _TIMER + key):
                    again.append((time_ms, key))  # by a call that may fail yet: then it is due
                elif at_ms is not None:
                    again.append((at_ms, key))
                continue
            told = self._told(Timer(place, key, at_ms))
            if told is None:
                again.append((at_ms, key))
                continue
            if self.when(place, key) == at_ms:  # it may have set itself anew
                self.clear(place, key)
            results.extend(_placed(place, key, result) for result in told)
        for at_ms, key in again:
            index.add(at_ms, key)
        return results

    def _told(self, timer: Timer) -> Sequence[Result] | None:
        """Let ``timer`` go off; its results, or ``None`` if it is to be tried again."""
        try:
            return to_results(self._go_off(timer))
        except TransientError as exc:
            log.warning("timer failed, and stays", key=timer.key, error=words_of(exc))
            return None
        except FatalError:
            raise  # the next process finds them all in the state
        except Exception as exc:  # noqa: BLE001 -- the boundary of the user's code
            log.error("timer failed, and is dropped", key=timer.key, error=repr(exc))  # noqa: TRY400
            return ()


def _placed(place: Partition, key: str, result: Result) -> PartitionResult:
    """A timer's result, under the timer's key unless it says otherwise."""
    return PartitionResult(
        place,
        result.value,
        topic=result.topic,
        key=key if isinstance(result.key, SameKey) else result.key,
        headers=result.headers,
        timestamp=result.timestamp,
    )


class EventTimers(KeyTimers):
    """Timers in event time: due when the watermark of their partition has reached them.

    The watermark is the newest timestamp observed less ``lateness_s``; after ``idle_s`` without
    an event it goes on with the clock, so timers go off although nothing more comes.

    Args:
        state: As for :class:`KeyTimers`; the watermark is kept there too.
        go_off: As for the same.
        lateness_s: How much older than the newest an event may be.
        idle_s: Silence after which time goes on without events.
        clock: Seconds on the clock of the ticks.
    """

    def __init__(
        self,
        state: KeyedState,
        go_off: GoOff,
        *,
        lateness_s: float,
        idle_s: float,
        clock: Callable[[], float],
        unread: Unread,
    ) -> None:
        super().__init__(state, go_off, wall_ms=0)
        self._unread = unread
        self._lateness_ms = round(lateness_s * 1000)
        self._idle_s = idle_s
        self._clock = clock
        self._watermarks: dict[PartitionId, Watermark] = {}

    def observe(self, event: Event, at_ms: int | None = None) -> None:
        """Take notice of an event's time, in ms since the epoch; the record's if not given.

        Raises:
            PermanentError: If it is no time up to the year 9999, which would let every timer of
                the partition go off for good.
        """
        time_ms = checked_ms(event.timestamp if at_ms is None else at_ms)
        place = Partition(event.topic, event.partition)
        watermark = self._watermark(place)
        self._index(place)  # from now on it has a time, so its ticks count
        moved = watermark.observe(time_ms, self._clock())
        # a call that failed has moved it too, but what it had noted was undone
        if moved or self._state.get(event, _NEWEST) != watermark.newest_ms:
            self._state.put(event, _NEWEST, watermark.newest_ms)

    def watermark_ms(self, place: Place) -> int:
        """How far the time of a partition has come."""
        return self._watermark(Partition(place.topic, place.partition)).at_ms

    def revoked(self, topic: str, partition: int) -> None:
        """See :meth:`KeyTimers.revoked`."""
        super().revoked(topic, partition)
        self._watermarks.pop((topic, partition), None)

    def _let_go(self, place: Partition, now_s: float) -> None:
        """Forget a connection that has no timer, and after long silence its time as well."""
        if now_s - self._watermark(place).heard_at_s > FORGOTTEN_AFTER_S:
            super()._let_go(place, now_s)
            self._state.delete(place, _NEWEST)
            del self._watermarks[place]

    def _time_ms(self, place: PartitionId, now_s: float) -> int:
        watermark = self._watermark(Partition(*place))
        known = self._state.get(Partition(*place), _NEWEST) is not None
        if known and self._unread(*place):
            watermark.observe(BEFORE_ALL_MS, now_s)  # not silent: we have not come to it yet
        elif known and watermark.pass_time(now_s) and self._due[place]:
            # where nothing is set, a silence that may last is not written down each second
            self._state.put(Partition(*place), _NEWEST, watermark.newest_ms)
        return watermark.at_ms if known else BEFORE_ALL_MS

    def _watermark(self, place: Partition) -> Watermark:
        watermark = self._watermarks.get(place)
        if watermark is None:
            watermark = self._watermarks[place] = Watermark(
                lateness_ms=self._lateness_ms, idle_s=self._idle_s, now_s=self._clock()
            )
            newest_ms = self._state.get(place, _NEWEST)
            if newest_ms is not None:
                watermark.restore(newest_ms, self._clock())
        return watermark
