"""Which windows a value belongs to, and which of them are finished: one rule per kind.

A rule is stateless; the windows of one key are a list that the caller keeps, in order of their
ends.  All bounds are milliseconds of event time, and a window holds the timestamps from
``start_ms`` up to, but not including, ``end_ms``; so a watermark at ``end_ms`` finishes it.
"""

import sys
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final, Protocol

from service.windows.aggregate import FOLD_AT, Aggregate
from service.windows.running import Running

NEVER_MS: Final = 2**62
"""End of a window that no time finishes."""


class Window:
    """One window of one key.

    Attributes:
        start_ms: Its first moment.
        end_ms: The first moment after it.
        aggregate: Its values.
        running: What is reported of it and those before it, if that is kept up; in memory only.
    """

    __slots__ = ("aggregate", "end_ms", "running", "start_ms")

    def __init__(self, start_ms: int, end_ms: int, aggregate: Aggregate | None = None) -> None:
        self.start_ms = start_ms
        self.end_ms = end_ms
        self.aggregate = Aggregate() if aggregate is None else aggregate
        self.running: Running | None = None

    def add(self, value: float) -> None:
        """Add one value."""
        if self.running is None:
            self.aggregate.add(value)
        else:
            self.running.add(value)

    @property
    def count(self) -> int:
        """Values so far."""
        return self.aggregate.count

    @property
    def told(self) -> Aggregate | Running:
        """See :class:`Told`."""
        if self.running is None and self.aggregate.folded:
            self.running = Running(None, self.aggregate, self.start_ms)
        return self.aggregate if self.running is None else self.running

    def encode(self) -> bytes:
        """As the text of JSON; :meth:`decode` gives it back."""
        return b"[%d,%d,%b]" % (self.start_ms, self.end_ms, self.aggregate.encode())

    @classmethod
    def decode(cls, encoded: list[Any]) -> "Window":
        """The window that :meth:`encode` described."""
        return cls(encoded[0], encoded[1], Aggregate.decode(encoded[2]))

    def __repr__(self) -> str:
        return f"Window({self.start_ms}, {self.end_ms}, count={self.aggregate.count})"


class Told(Protocol):
    """What a value has come into: a window, or several together."""

    @property
    def start_ms(self) -> int:
        """Its first moment."""
        ...

    @property
    def end_ms(self) -> int:
        """The first moment after it, or its last."""
        ...

    @property
    def count(self) -> int:
        """Values so far."""
        ...

    @property
    def told(self) -> Aggregate | Running:
        """Its values, for a report that is asked for after each of them."""
        ...


class Sum:
    """Panes together; see :class:`SlidingWindows`."""

    __slots__ = ("end_ms", "start_ms", "told")

    def __init__(self, start_ms: int, end_ms: int, told: Aggregate | Running) -> None:
        self.start_ms = start_ms
        self.end_ms = end_ms
        self.told = told

    @property
    def count(self) -> int:
        """Values so far."""
        return self.told.count


class Windowing(Protocol):
    """One kind of window.

    Attributes:
        disjoint: Whether a value of a window that is not finished belongs to no other one.
    """

    @property
    def disjoint(self) -> bool:
        """See the class."""
        ...

    def add(
        self, windows: list[Window], timestamp_ms: int, value: float, watermark_ms: int
    ) -> Sequence[Told]:
        """Add a value to every window that it belongs to and that is not finished.

        Args:
            windows: The key's open windows; changed in place.
            timestamp_ms: When the value was observed.
            value: The value.
            watermark_ms: Where event time is; what it has passed stays closed.

        Returns:
            The windows that got it, good until the next call; empty if it is too late for all
            of them.
        """
        ...


class HoppingWindows:
    """Windows of ``size_ms`` that begin every ``advance_ms``; equal to it, they are tumbling.

    Starts are multiples of ``advance_ms`` since the Unix epoch, whatever the key.

    Raises:
        ValueError: Unless ``0 < advance_ms <= size_ms``.
    """

    def __init__(self, size_ms: int, advance_ms: int) -> None:
        if not 0 < advance_ms <= size_ms:
            raise ValueError(f"windows of {size_ms} ms cannot begin every {advance_ms} ms")
        self._size_ms = size_ms
        self._advance_ms = advance_ms
        self._bounds = 0, size_ms
        self.disjoint = size_ms == advance_ms

    def add(
        self, windows: list[Window], timestamp_ms: int, value: float, watermark_ms: int
    ) -> list[Window]:
        """See :class:`Windowing`."""
        start_ms = timestamp_ms - timestamp_ms % self._advance_ms
        updated: list[Window] = []
        first_ms = max(timestamp_ms - self._size_ms, watermark_ms - self._size_ms)
        place = len(windows)  # those from here on begin after the one that is looked for
        while start_ms > first_ms:
            if self._bounds[0] != start_ms:
                self._bounds = start_ms, start_ms + self._size_ms
            while place and windows[place - 1].start_ms > start_ms:
                place -= 1
            if place and windows[place - 1].start_ms == start_ms:
                place -= 1
                window = windows[place]
            else:
                # The same two integers for all keys: with many keys each look at one of its own
                # is a wait for memory.
                window = _open(windows, *self._bounds)
            window.add(value)
            updated.append(window)
            start_ms -= self._advance_ms
        updated.reverse()
        return updated


class SessionWindows:
    """Windows that end after ``gap_ms`` without a value; a value in between joins two.

    Raises:
        ValueError: Unless ``gap_ms`` is positive.
    """

    disjoint: bool = False

    def __init__(self, gap_ms: int) -> None:
        if gap_ms <= 0:
            raise ValueError(f"a gap of {gap_ms} ms")
        self._gap_ms = gap_ms

    def add(
        self, windows: list[Window], timestamp_ms: int, value: float, watermark_ms: int
    ) -> list[Window]:
        """See :class:`Windowing`."""
        start_ms, end_ms = timestamp_ms, timestamp_ms + self._gap_ms
        touched = [
            window
            for window in windows
            if window.end_ms > watermark_ms
            and window.start_ms <= end_ms
            and window.end_ms >= start_ms
        ]
        if not touched and end_ms <= watermark_ms:
            return []
        session = touched[0] if touched else Window(start_ms, end_ms)
        if len(touched) > 1:
            session.running = None
        for other in touched[1:]:
            session.aggregate.merge(other.aggregate)
            session.end_ms = max(session.end_ms, other.end_ms)
            windows.remove(other)
        session.start_ms = min(session.start_ms, start_ms)
        session.end_ms = max(session.end_ms, end_ms)
        session.add(value)
        if not touched:
            windows.insert(bisect_right(windows, end_ms, key=_end), session)
        return [session]


class CountWindows:
    """Every ``count`` values of a key are a window, whatever time they have.

    It is finished by its last value and by no watermark; :meth:`full` says so.

    Raises:
        ValueError: Unless ``count`` is positive.
    """

    disjoint: bool = False

    def __init__(self, count: int) -> None:
        if count <= 0:
            raise ValueError(f"windows of {count} values")
        self._count = count

    def add(
        self, windows: list[Window], timestamp_ms: int, value: float, watermark_ms: int
    ) -> list[Window]:
        """See :class:`Windowing`; nothing is ever late."""
        del watermark_ms
        if not windows:
            windows.append(Window(timestamp_ms, NEVER_MS))
        window = windows[0]
        window.start_ms = min(window.start_ms, timestamp_ms)
        window.add(value)
        return [window]

    def full(self, window: Told) -> bool:
        """Whether ``window`` has all of its values."""
        return window.count >= self._count


class SlidingWindows:
    """For every value, the window of ``size_ms`` that ends with it.

    Implemented by panes of ``size_ms / panes``: what is reported for a value are the panes of
    the last ``size_ms``, those at both ends whole.  So memory and time per key are bounded by
    ``panes`` however many values there are, the window is up to one pane longer, and a value
    that comes out of order counts those of its own pane that are newer.

    Args:
        size_ms: Length of the window.
        panes: Parts that it moves by.

    Raises:
        ValueError: Unless ``size_ms`` can be cut into ``panes`` of at least 1 ms.
    """

    disjoint: bool = False

    def __init__(self, size_ms: int, panes: int = 10) -> None:
        if panes <= 0 or size_ms < panes:
            raise ValueError(f"windows of {size_ms} ms in {panes} panes")
        self._size_ms = size_ms
        self._pane_ms = -(-size_ms // panes)

    def add(
        self, windows: list[Window], timestamp_ms: int, value: float, watermark_ms: int
    ) -> list[Sum]:
        """See :class:`Windowing`; ``windows`` are panes, and what is returned is their sum."""
        if timestamp_ms + self._size_ms <= watermark_ms:
            return []
        start_ms = timestamp_ms - timestamp_ms % self._pane_ms
        # A pane is kept until no window that is still in time can reach back to it: a value is
        # in time for one length behind the watermark, and its window begins another one before.
        pane = _find_or_open(windows, start_ms, start_ms + self._pane_ms + 2 * self._size_ms)
        begin_ms = timestamp_ms - self._size_ms
        first_ms = begin_ms - begin_ms % self._pane_ms
        running = pane.running
        if running is not None and running.first_ms == first_ms:
            running.add(value)
            return [Sum(begin_ms, timestamp_ms, running)]
        pane.aggregate.add(value)
        inside: list[Aggregate] = []
        for other in reversed(windows):
            if other.start_ms < first_ms:
                break
            other.running = None  # this pane may be in it
            if other.start_ms <= start_ms:
                inside.append(other.aggregate)
        inside.reverse()
        if sum([FOLD_AT if each.folded else len(each.recent) for each in inside]) < FOLD_AT:
            few = Aggregate()
            for each in inside:
                few.recent.extend(each.recent)
            return [Sum(begin_ms, timestamp_ms, few)]
        pane.running = running = Running(inside[:-1], pane.aggregate, first_ms)
        return [Sum(begin_ms, timestamp_ms, running)]


def finished(windows: list[Window], watermark_ms: int, most: int = sys.maxsize) -> list[Window]:
    """Take up to ``most`` windows that ``watermark_ms`` has passed, earliest first.

    Those that are left in ``windows`` stay closed to values.
    """
    place = min(most, bisect_right(windows, watermark_ms, key=_end))
    done, windows[:place] = windows[:place], []
    return done


def _find_or_open(windows: list[Window], start_ms: int, end_ms: int) -> Window:
    for window in reversed(windows):
        if window.start_ms == start_ms:
            return window
        if window.start_ms < start_ms:
            break
    return _open(windows, start_ms, end_ms)


def _open(windows: list[Window], start_ms: int, end_ms: int) -> Window:
    window = Window(start_ms, end_ms)
    windows.insert(bisect_right(windows, end_ms, key=_end), window)
    return window


def _end(window: Window) -> int:
    return window.end_ms
