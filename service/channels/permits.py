"""Slots reserved before there is an item to put into them.

A permit's ``send`` cannot fail and does not wait, so work that must not be done in vain can be
done after the slot is certain.  This module knows nothing of how a slot is waited for.
"""

from collections.abc import Callable
from functools import partial
from typing import Generic, Self, TypeVar

from service.channels.closing import Closing, end_forgotten, warn_forgotten
from service.channels.core import Core

T = TypeVar("T")
S = TypeVar("S")


class _Slot(Closing, Generic[T]):
    """One reserved slot, until it is used or given back."""

    __slots__ = ("_core",)

    def __init__(self, core: Core[T]) -> None:
        self._core: Core[T] | None = core

    def _take_core(self) -> Core[T]:
        core, self._core = self._core, None
        if core is None:
            raise RuntimeError("the permit was already used or released")
        return core


class Permit(_Slot[T]):
    """One reserved slot: use it with :meth:`send`, or give it back with :meth:`release`.

    As a context manager it gives the slot back if it was not used.
    """

    __slots__ = ()

    def send(self, item: T) -> None:
        """Send ``item`` at once.

        Works after ``Receiver.close()``: the item is still received.  If the receiver was dropped
        the item is destroyed silently.

        Raises:
            RuntimeError: If the permit was used or released before.
        """
        self._take_core().push_permitted(item)

    def release(self) -> None:
        """Give the slot back unused.  Does nothing if the permit was used or released before."""
        core, self._core = self._core, None
        if core is not None:
            core.release(1)

    _end = release

    def __del__(self) -> None:
        if self._core is not None:
            end_forgotten(self._core.loop, partial(self._core.release, 1))
            warn_forgotten(self)


class OwnedPermit(_Slot[T], Generic[S, T]):
    """A permit that took its sender along and counts as a living sender.

    Both ways to use it give the sender back.  As a context manager it gives its slot back and
    closes the sender if it was not used.

    Args:
        core: The channel.
        sender: Makes the sender that takes this permit's place among the living ones.
    """

    __slots__ = ("_sender",)

    def __init__(self, core: Core[T], sender: Callable[[], S]) -> None:
        super().__init__(core)
        self._sender = sender

    def send(self, item: T) -> S:
        """Send ``item`` at once and return the sender; see :meth:`Permit.send`.

        Raises:
            RuntimeError: If the permit was used or released before.
        """
        self._take_core().push_permitted(item)
        return self._sender()

    def release(self) -> S:
        """Give the slot back unused and return the sender.

        Raises:
            RuntimeError: If the permit was used or released before.
        """
        self._take_core().release(1)
        return self._sender()

    def close(self) -> None:
        """Give the slot back and close the sender.  Does nothing if the permit was used before."""
        core, self._core = self._core, None
        if core is not None:
            core.owned_permit_gone()

    _end = close

    def __del__(self) -> None:
        if self._core is not None:
            end_forgotten(self._core.loop, self._core.owned_permit_gone)
            warn_forgotten(self)


class Permits(Closing, Generic[T]):
    """Several slots reserved together; iterating yields them one permit at a time.

    As a context manager it gives back what was not taken out.
    """

    __slots__ = ("_core", "_left")

    def __init__(self, core: Core[T], count: int) -> None:
        self._core = core
        self._left = count

    def __len__(self) -> int:
        return self._left

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Permit[T]:
        if not self._left:
            raise StopIteration
        self._left -= 1
        return Permit(self._core)

    def release(self) -> None:
        """Give back every slot that was not taken out."""
        left, self._left = self._left, 0
        if left:
            self._core.release(left)

    _end = release

    def __del__(self) -> None:
        if self._left:
            end_forgotten(self._core.loop, partial(self._core.release, self._left))
            warn_forgotten(self)
