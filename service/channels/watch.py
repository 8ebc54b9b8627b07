"""A channel for the latest value of something: a setting, an assignment, a state.

``tx, rx = watch.channel[str]("initial")``; receivers see the current value at any time and can
wait for a newer one.  Values between two looks are conflated.  Not thread-safe.
"""

from collections.abc import Callable
from typing import Generic, Self, TypeVar

from service.channels.closing import Closing, warn_forgotten
from service.channels.waiting import WaitSet
from service.errors import ChannelClosedError

T = TypeVar("T")


class _State(Generic[T]):
    __slots__ = ("changed", "closed", "receivers", "value", "version")

    def __init__(self, value: T) -> None:
        self.value = value
        self.version = 0
        self.closed = False
        self.receivers = 0
        self.changed = WaitSet()


class Sender(Closing, Generic[T]):
    """Replaces the value; the only one who can."""

    __slots__ = ("_state",)

    def __init__(self, state: _State[T]) -> None:
        self._state = state

    @property
    def value(self) -> T:
        """The current value."""
        return self._state.value

    def send(self, value: T) -> None:
        """Replace the value and wake everyone who waits for a change.

        Raises:
            ChannelClosedError: If there is no receiver (the value is not replaced then) or this
                sender is closed; carries ``value``.
        """
        if not self._state.receivers:
            raise ChannelClosedError(value)
        self.replace(value)

    def replace(self, value: T) -> T:
        """Replace the value, with or without receivers, and return the one before.

        Raises:
            ChannelClosedError: If this sender is closed; carries ``value``.
        """
        state = self._state
        if state.closed:
            raise ChannelClosedError(value)
        before, state.value = state.value, value
        state.version += 1
        state.changed.wake_all()
        return before

    def replace_if_changed(self, value: T) -> bool:
        """Replace the value if it differs from the current one; return whether it did.

        Raises:
            ChannelClosedError: If this sender is closed; carries ``value``.
        """
        if value == self._state.value:
            return False
        self.replace(value)
        return True

    def subscribe(self) -> "Receiver[T]":
        """A new receiver that has seen the current value."""
        return Receiver(self._state)

    async def closed(self) -> None:
        """Wait until no receiver is left.

        Cancel safety: nothing to lose.
        """
        while self._state.receivers:
            await self._state.changed.wait()

    @property
    def is_closed(self) -> bool:
        """Whether no receiver is left."""
        return not self._state.receivers

    @property
    def receiver_count(self) -> int:
        """Living receivers."""
        return self._state.receivers

    def close(self) -> None:
        """End the channel: receivers still see the last value, but wait for no other."""
        self._state.closed = True
        self._state.changed.wake_all()

    _end = close

    def __del__(self) -> None:
        if not self._state.closed and self._state.receivers:
            self._state.closed = True
            self._state.changed.wake_all_from_anywhere()
            warn_forgotten(self)


class Receiver(Closing, Generic[T]):
    """Sees the latest value and remembers which one it has seen."""

    __slots__ = ("_closed", "_seen", "_state")

    def __init__(self, state: _State[T]) -> None:
        state.receivers += 1
        self._state = state
        self._seen = state.version
        self._closed = False

    @property
    def value(self) -> T:
        """The current value, without marking it as seen."""
        return self._state.value

    def take(self) -> T:
        """The current value, marked as seen (tokio's ``borrow_and_update``)."""
        self._seen = self._state.version
        return self._state.value

    @property
    def has_changed(self) -> bool:
        """Whether there is a value that this receiver has not seen."""
        return self._state.version != self._seen

    @property
    def is_closed(self) -> bool:
        """Whether the sender or this receiver is closed; a last value may still be unseen."""
        return self._closed or self._state.closed

    def mark_changed(self) -> None:
        """Treat the current value as not seen."""
        self._seen = -1

    async def changed(self) -> T:
        """Wait for a value that this receiver has not seen, mark it as seen and return it.

        A last value is still returned after the sender has closed.

        Cancel safety: a cancelled call has marked nothing.

        Raises:
            ChannelClosedError: If the sender is closed and its last value was seen, or this
                receiver is closed.
        """
        state = self._state
        while self._closed or state.version == self._seen:
            if self.is_closed:
                raise ChannelClosedError
            await state.changed.wait()
        return self.take()

    async def wait_for(self, predicate: Callable[[T], bool]) -> T:
        """Wait until the value satisfies ``predicate``, the current one included; mark it as seen.

        Values between two looks are conflated, so a value that came and went may be missed.

        Cancel safety: a cancelled call loses nothing but what it has marked as seen.

        Raises:
            ChannelClosedError: If the channel ends before.
        """
        value = self.take()
        while not predicate(value):
            value = await self.changed()
        return value

    def clone(self) -> "Receiver[T]":
        """Another receiver that has seen what this one has seen."""
        other = Receiver(self._state)
        other._seen = self._seen
        return other

    def close(self) -> None:
        """Stop receiving; the sender notices when the last receiver is gone.  Idempotent."""
        if not self._closed:
            self._closed = True
            self._state.receivers -= 1
            self._state.changed.wake_all()

    _end = close

    def __del__(self) -> None:
        # Quietly: that is the ordinary way to lose interest.  The sender may wait for it.
        if not self._closed:
            self._closed = True
            self._state.receivers -= 1
            self._state.changed.wake_all_from_anywhere()


class channel(tuple[Sender[T], Receiver[T]]):  # noqa: N801 -- called like a function
    """A channel for the latest value, starting with ``initial``.

    >>> tx, rx = channel[int](1)
    >>> tx.send(2)
    >>> rx.has_changed, rx.take(), rx.has_changed
    (True, 2, False)
    >>> tx.close()
    """

    __slots__ = ()

    def __new__(cls, initial: T) -> Self:
        """Return the pair; the receiver has seen ``initial``."""
        state = _State(initial)
        return super().__new__(cls, (Sender(state), Receiver(state)))
