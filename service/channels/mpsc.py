"""How a channel of many producers and one consumer is made."""

from collections.abc import Callable
from typing import Self, TypeVar

from service.channels.conflating import ConflatingCore
from service.channels.core import UNBOUNDED, Core
from service.channels.overflow import Conflate, Overflow
from service.channels.receiver import Receiver
from service.channels.sender import Sender
from service.channels.unbounded import UnboundedSender
from service.channels.weighed import WeighedCore

T = TypeVar("T")


class channel(tuple[Sender[T], Receiver[T]]):  # noqa: N801 -- called like a function
    """A bounded channel: ``tx, rx = channel[int](100)``.

    First in, first out; senders wait in one fair line while it is full.  Closing the last sender
    lets the receiver take what is buffered and then ends; see :class:`Sender` and
    :class:`Receiver`.

    Make it inside the event loop that it will be used on if threads use the ``blocking_*``
    methods.

    >>> tx, rx = channel[str](2)
    >>> tx.try_send("a")
    >>> tx.try_send("b")
    >>> rx.try_recv(), tx.capacity
    ('a', 1)
    >>> tx.close()
    >>> rx.drop()

    Args:
        capacity: Slots, at least 1.  An item takes one slot, or what ``items_of`` says.
        max_bytes: Bytes that may be buffered, at least 1; needs ``bytes_of``.
        bytes_of: Bytes of an item.
        items_of: Slots that an item takes, for items that are batches; less than 1 counts as 1.
            An item that weighs more than a whole bound counts as that bound: it is admitted alone.
        overflow: What to do with an item that finds no room.

    Raises:
        ValueError: If a bound is less than 1, ``max_bytes`` has no ``bytes_of``, or ``Conflate``
            is combined with weights.
    """

    __slots__ = ()

    def __new__(
        cls,
        capacity: int,
        *,
        max_bytes: int | None = None,
        bytes_of: Callable[[T], int] | None = None,
        items_of: Callable[[T], int] | None = None,
        overflow: Overflow | Conflate = Overflow.WAIT,
    ) -> Self:
        """Return the pair; the class exists only so that it can be called with its item's type."""
        if capacity < 1:
            raise ValueError(f"a channel needs at least one slot, not {capacity}")
        if max_bytes is not None and (max_bytes < 1 or bytes_of is None):
            raise ValueError("max_bytes must be at least 1 and needs bytes_of")
        weighed = bytes_of is not None or items_of is not None
        core: Core[T]
        if isinstance(overflow, Conflate):
            if weighed:
                raise ValueError("Conflate counts keys: it cannot be combined with weights")
            core = ConflatingCore(capacity, overflow)
        elif weighed:
            core = WeighedCore(capacity, max_bytes, bytes_of, items_of, overflow)
        else:
            core = Core(capacity, overflow)
        return super().__new__(cls, (Sender(core), Receiver(core)))


class unbounded_channel(tuple[UnboundedSender[T], Receiver[T]]):  # noqa: N801 -- as above
    """A channel without a bound: ``tx, rx = unbounded_channel[int]()``.

    Sending is a plain call that never waits, so nothing slows a producer down: for few items of a
    known number only.
    """

    __slots__ = ()

    def __new__(cls) -> Self:
        """Return the pair."""
        core: Core[T] = Core(UNBOUNDED)
        return super().__new__(cls, (UnboundedSender(core), Receiver(core)))
