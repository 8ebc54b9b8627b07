"""The ends of a channel that put items in."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from service.channels.blocking import run_on_loop
from service.channels.core import Core
from service.channels.handle import Handle, WeakHandle
from service.channels.permits import OwnedPermit, Permit, Permits
from service.channels.weighed import WeighedCore
from service.errors import ChannelClosedError, ChannelFullError, ChannelTimeoutError

T = TypeVar("T")


class Sender(Handle[T]):
    """Puts items into a bounded channel; clone it to send from several places.

    Whatever waits, waits in one fair line per channel: freed slots go to its head before anyone
    else can see them.

    Not thread-safe, except for :meth:`blocking_send`, which is for other threads only.
    """

    __slots__ = ()

    # -- sending ---------------------------------------------------------------------------

    async def send(self, item: T) -> None:
        """Send ``item``, waiting in line while the channel is full (if the policy is to wait).

        Returning does not mean that the item will be received: the receiver may be dropped.

        Cancel safety: a cancelled ``send`` has not sent ``item``, and its place in line is lost.

        Raises:
            ChannelClosedError: If the receiver is closed before a slot is free; carries ``item``.
            ChannelFullError: If the policy is ``Overflow.REJECT`` and the channel is full.
        """
        lane = self._lane
        puts = lane.puts
        if puts:
            lane.puts = puts - 1
            lane.buffer.append(item)
            return
        core = self._live_core(item)
        if core.put_turn <= 0:
            await core.share_the_loop()
        if not core.offer(item):
            await core.put(item)

    async def send_many(self, items: Sequence[T]) -> None:
        """Send ``items`` in order, as many at once as there are slots, waiting for more.

        Other senders may get between two items that did not fit at once.

        Cancel safety: what a cancelled call has sent is a prefix of ``items``, and its length is
        not told; a caller that must know it sends by ``reserve_many``.

        Raises:
            ChannelClosedError: If the receiver is closed; ``item`` is the list of the unsent rest.
            ChannelFullError: If the policy is ``Overflow.REJECT`` and the channel is full; ``item``
                is the list of the unsent rest.
        """
        sent, count = 0, len(items)
        try:
            core = self._live_core()
            while sent < count:
                if core.put_turn <= 0:
                    await core.share_the_loop()
                taken = core.offer_some(items, sent)
                if not taken:
                    await core.put(items[sent])
                    taken = 1
                sent += taken
        except (ChannelClosedError, ChannelFullError) as error:
            raise type(error)(list(items[sent:])) from None

    def try_send(self, item: T) -> None:
        """Send ``item`` if there is a slot and nobody waits for it (or the policy drops).

        Raises:
            ChannelClosedError: If the receiver is closed; carries ``item``.
            ChannelFullError: If there is no slot; carries ``item``.
        """
        if not self._live_core(item).offer(item):
            raise ChannelFullError(item)

    async def send_timeout(self, item: T, timeout_s: float) -> None:
        """:meth:`send`, waiting at most ``timeout_s`` seconds for a slot.

        Cancel safety: a cancelled call has not sent ``item``.

        Raises:
            ChannelTimeoutError: If no slot was free in time; carries ``item``.
            ChannelClosedError: If the receiver is closed first; carries ``item``.
            ChannelFullError: If the policy is ``Overflow.REJECT`` and the channel is full.
        """
        core = self._live_core(item)
        if core.put_turn <= 0:
            await core.share_the_loop()
        if core.offer(item):
            return
        try:
            async with asyncio.timeout(timeout_s):
                await core.put(item)
        except TimeoutError:
            raise ChannelTimeoutError(item) from None

    def blocking_send(self, item: T) -> None:
        """:meth:`send` for a thread without an event loop; blocks the thread.

        Raises:
            RuntimeError: If this thread runs an event loop, or the channel's loop is not running.
            ChannelClosedError: If the receiver is closed before a slot is free; carries ``item``.
            ChannelFullError: If the policy is ``Overflow.REJECT`` and the channel is full.
        """
        run_on_loop(self._core.loop, self.send, item)

    # -- reserving -------------------------------------------------------------------------

    async def reserve(self) -> Permit[T]:
        """Wait in line for one slot and hold it.

        Cancel safety: a cancelled call holds nothing; its place in line is lost.

        Raises:
            ChannelClosedError: If the receiver is closed before a slot is free.
            TypeError: If the channel weighs its items: a slot says nothing of a weight.
        """
        core = self._reservable()
        await core.acquire(1)
        return Permit(core)

    async def reserve_many(self, count: int) -> Permits[T]:
        """Wait in line for ``count`` slots together; smaller requests behind this one wait too.

        Cancel safety: a cancelled call holds nothing; what it had collected goes to the next in
        line.

        Raises:
            ValueError: If ``count`` is negative or more than the channel ever has.
            ChannelClosedError: If the receiver is closed before the slots are free.
            TypeError: If the channel weighs its items.
        """
        core = self._reservable()
        _check_count(count)
        if count > core.slots.capacity:
            raise ValueError(f"{count} slots of a channel that has {core.slots.capacity}")
        await core.acquire(count)
        return Permits(core, count)

    async def reserve_owned(self) -> "OwnedPermit[Sender[T], T]":
        """:meth:`reserve`, moving this sender into the permit, which gives it back on use.

        This handle is closed once the permit exists; the permit counts as a living sender.

        Cancel safety: a cancelled call holds nothing and leaves this sender as it was.

        Raises:
            ChannelClosedError: If the receiver is closed before a slot is free, or this sender
                was closed or moved meanwhile.
            TypeError: If the channel weighs its items.
        """
        core = self._reservable()
        await core.acquire(1)
        return self._move_into_permit(core)

    def try_reserve(self) -> Permit[T]:
        """Hold one slot if it is free and nobody waits for it.

        Raises:
            ChannelClosedError: If the receiver is closed.
            ChannelFullError: If there is no slot.
            TypeError: If the channel weighs its items.
        """
        core = self._reservable()
        _take_now(core, 1)
        return Permit(core)

    def try_reserve_many(self, count: int) -> Permits[T]:
        """Hold ``count`` slots if they are free and nobody waits for them.

        Raises:
            ValueError: If ``count`` is negative.
            ChannelClosedError: If the receiver is closed.
            ChannelFullError: If there are fewer slots, also when there never are so many.
            TypeError: If the channel weighs its items.
        """
        core = self._reservable()
        _check_count(count)
        _take_now(core, count)
        return Permits(core, count)

    def try_reserve_owned(self) -> "OwnedPermit[Sender[T], T]":
        """:meth:`reserve_owned` without waiting; on an error this sender stays as it was.

        Raises:
            ChannelClosedError: If the receiver is closed.
            ChannelFullError: If there is no slot.
            TypeError: If the channel weighs its items.
        """
        core = self._reservable()
        _take_now(core, 1)
        return self._move_into_permit(core)

    # -- handles ---------------------------------------------------------------------------

    def clone(self) -> "Sender[T]":
        """Another sender of the same channel, to be closed on its own.

        Raises:
            ChannelClosedError: If this handle is closed.
        """
        return Sender(self._live_core())

    def downgrade(self) -> "WeakSender[T]":
        """A handle that does not keep the channel open.

        Raises:
            ChannelClosedError: If this handle is closed.
        """
        return WeakSender(self._live_core())

    # -- inner -----------------------------------------------------------------------------

    def _reservable(self) -> Core[T]:
        core = self._live_core()
        if isinstance(core, WeighedCore):
            raise TypeError("a permit cannot know how much its item will weigh: use send")
        return core

    def _move_into_permit(self, core: Core[T]) -> "OwnedPermit[Sender[T], T]":
        if self._closed:  # while it waited: there is no place among the living to move
            core.release(1)
            raise ChannelClosedError
        self._retire()
        return OwnedPermit(core, lambda: _move(core))


class WeakSender(WeakHandle[T]):
    """A sender that does not keep the channel open."""

    __slots__ = ()

    def upgrade(self) -> Sender[T] | None:
        """A living sender, or None once the last one is gone, even if items are still buffered.

        Works after the receiver was closed, while a sender lives; its sends fail.
        """
        return Sender(self._core) if self._core.senders else None


def _check_count(count: int) -> None:
    if count < 0:
        raise ValueError(f"the number of slots must not be negative: {count}")


def _take_now(core: Core[T], count: int) -> None:
    if core.slots.closed:
        raise ChannelClosedError
    if not core.try_acquire(count):
        raise ChannelFullError


def _move(core: Core[T]) -> Sender[T]:
    """A sender that takes over the place of an owned permit among the living senders."""
    sender = Sender(core)
    core.senders -= 1
    return sender
