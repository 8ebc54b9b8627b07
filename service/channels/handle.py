"""What senders of every kind have in common: being counted, cloned, closed and held weakly."""

from typing import TypeVar

from service.channels.closing import Closing, end_forgotten, warn_forgotten
from service.channels.core import Core
from service.channels.facts import Facts
from service.channels.lane import Lane
from service.channels.overflow import Overflow
from service.errors import ChannelClosedError

T = TypeVar("T")


class Handle(Facts[T], Closing):
    """One living sender, whatever its kind."""

    __slots__ = ("_closed", "_lane")

    def __init__(self, core: Core[T]) -> None:
        super().__init__(core)
        core.senders += 1
        self._lane = core.lane
        self._closed = False

    # -- ending ----------------------------------------------------------------------------

    def close(self) -> None:
        """Close this sender only; the channel ends with its last one.  Idempotent.

        What was sent stays; a ``send`` of another task that is waiting through this handle goes
        on waiting.
        """
        if not self._closed:
            self._retire()
            self._core.sender_gone()

    _end = close

    def __del__(self) -> None:
        if self._closed:
            return
        end_forgotten(self._core.loop, self._core.sender_gone)
        if not self._core.slots.closed:
            warn_forgotten(self)

    def _retire(self) -> None:
        self._closed = True
        self._lane = Lane(self._core.buffer)  # one that never opens

    def _live_core(self, item: object = None) -> Core[T]:
        if self._closed:
            raise ChannelClosedError(item)
        return self._core

    # -- facts -----------------------------------------------------------------------------

    async def closed(self) -> None:
        """Wait until the receiver is closed or dropped.

        Cancel safety: nothing to lose.
        """
        await self._core.wait_closed()

    @property
    def is_closed(self) -> bool:
        """Whether the receiver is closed or dropped (or this handle is closed)."""
        return self._closed or self._core.slots.closed

    @property
    def overflow(self) -> Overflow:
        """What becomes of an item that finds no room."""
        return self._core.overflow

    def same_channel(self, other: "Handle[T]") -> bool:
        """Whether both send to the same receiver."""
        return self._core is other._core  # noqa: SLF001 -- the same class


class WeakHandle(Facts[T]):
    """Knows a channel without keeping it open."""

    __slots__ = ()

    def __init__(self, core: Core[T]) -> None:
        super().__init__(core)
        core.weak_senders += 1

    def __del__(self) -> None:
        self._core.weak_senders -= 1
