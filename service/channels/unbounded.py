"""Senders of a channel without a bound: sending is a plain call that never waits."""

from collections.abc import Sequence
from typing import TypeVar

from service.channels.handle import Handle, WeakHandle
from service.channels.lane import BUDGET
from service.errors import ChannelClosedError

T = TypeVar("T")


class UnboundedSender(Handle[T]):
    """Puts items into an unbounded channel; nothing but memory bounds what a slow receiver costs.

    Not thread-safe.
    """

    __slots__ = ()

    def send(self, item: T) -> None:
        """Send ``item`` at once.

        Raises:
            ChannelClosedError: If the receiver is closed; carries ``item``.
        """
        lane = self._lane
        if lane.puts:
            lane.puts -= 1
            lane.buffer.append(item)
        else:
            core = self._live_core(item)
            core.put_turn = BUDGET  # a plain call cannot let others run
            core.offer(item)

    def send_many(self, items: Sequence[T]) -> None:
        """Send ``items`` at once, in order.

        Raises:
            ChannelClosedError: If the receiver is closed; ``item`` is the list of all of them.
        """
        try:
            if items:
                self._live_core().offer_some(items, 0)
        except ChannelClosedError:
            raise ChannelClosedError(list(items)) from None

    def clone(self) -> "UnboundedSender[T]":
        """Another sender of the same channel, to be closed on its own.

        Raises:
            ChannelClosedError: If this handle is closed.
        """
        return UnboundedSender(self._live_core())

    def downgrade(self) -> "WeakUnboundedSender[T]":
        """A handle that does not keep the channel open.

        Raises:
            ChannelClosedError: If this handle is closed.
        """
        return WeakUnboundedSender(self._live_core())


class WeakUnboundedSender(WeakHandle[T]):
    """A sender that does not keep the channel open."""

    __slots__ = ()

    def upgrade(self) -> UnboundedSender[T] | None:
        """A living sender, or None once the last one is gone, even if items are still buffered."""
        return UnboundedSender(self._core) if self._core.senders else None
