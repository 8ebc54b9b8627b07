"""A channel for one value: the answer to one question.

``tx, rx = oneshot.channel[int]()``; the value waits in the channel until it is received, so a
cancelled receiver loses nothing.  Not thread-safe.
"""

from collections.abc import Generator
from typing import Any, Generic, Self, TypeVar

from service.channels.closing import Closing, warn_forgotten
from service.channels.waiting import WaitSet
from service.errors import ChannelClosedError, ChannelEmptyError

T = TypeVar("T")


class _State(Generic[T]):
    __slots__ = ("changed", "receiver_closed", "sender_done", "value")

    def __init__(self) -> None:
        self.value: list[T] = []  # a list of at most one, because None is a value like any other
        self.sender_done = False
        self.receiver_closed = False
        self.changed = WaitSet()


class Sender(Closing, Generic[T]):
    """Sends one value, or closes without one."""

    __slots__ = ("_state",)

    def __init__(self, state: _State[T]) -> None:
        self._state = state

    def send(self, value: T) -> None:
        """Send ``value`` at once and close.

        Raises:
            ChannelClosedError: If the receiver is closed; carries ``value``.
            RuntimeError: If this sender has sent or closed before.
        """
        state = self._state
        if state.sender_done:
            raise RuntimeError("a oneshot sends once")
        self.close()
        if state.receiver_closed:
            raise ChannelClosedError(value)
        state.value.append(value)

    def close(self) -> None:
        """Close without a value, if none was sent.  Idempotent."""
        self._state.sender_done = True
        self._state.changed.wake_all()

    async def closed(self) -> None:
        """Wait until the receiver is closed: nobody wants the value any more.

        Cancel safety: nothing to lose.
        """
        while not self._state.receiver_closed:
            await self._state.changed.wait()

    @property
    def is_closed(self) -> bool:
        """Whether the receiver is closed."""
        return self._state.receiver_closed

    _end = close

    def __del__(self) -> None:
        if not self._state.sender_done and not self._state.receiver_closed:
            self._state.sender_done = True
            self._state.changed.wake_all_from_anywhere()
            warn_forgotten(self)


class Receiver(Closing, Generic[T]):
    """Receives the value: ``await rx``."""

    __slots__ = ("_state",)

    def __init__(self, state: _State[T]) -> None:
        self._state = state

    async def recv(self) -> T:
        """Wait for the value and take it.

        Cancel safety: a cancelled call has taken nothing.

        Raises:
            ChannelClosedError: If the sender closed without a value, the value was taken before,
                or this receiver is closed and nothing was sent before that.
        """
        state = self._state
        while not state.value and not state.sender_done and not state.receiver_closed:
            await state.changed.wait()
        return self.try_recv()

    def __await__(self) -> Generator[Any, None, T]:
        return self.recv().__await__()

    def try_recv(self) -> T:
        """Take the value if it is there.

        Raises:
            ChannelEmptyError: If it may still come.
            ChannelClosedError: As :meth:`recv`.
        """
        state = self._state
        if state.value:
            return state.value.pop()
        if state.sender_done or state.receiver_closed:
            raise ChannelClosedError
        raise ChannelEmptyError

    def close(self) -> None:
        """Refuse the value if it was not sent yet; a value already sent can be received."""
        self._state.receiver_closed = True
        self._state.changed.wake_all()

    def _end(self) -> None:
        self.close()
        self._state.value.clear()

    def __del__(self) -> None:
        # Quietly: that is the ordinary way to lose interest.  The sender may wait for it.
        self._state.receiver_closed = True
        self._state.changed.wake_all_from_anywhere()


class channel(tuple[Sender[T], Receiver[T]]):  # noqa: N801 -- called like a function
    """A channel for one value.

    >>> tx, rx = channel[int]()
    >>> tx.send(1)
    >>> rx.try_recv()
    1
    """

    __slots__ = ()

    def __new__(cls) -> Self:
        """Return the pair."""
        state: _State[T] = _State()
        return super().__new__(cls, (Sender(state), Receiver(state)))
