"""What both ends of a channel can tell about it."""

from typing import Generic, TypeVar

from service.channels.core import Core
from service.channels.statistics import ChannelStatistics

T = TypeVar("T")


class Facts(Generic[T]):
    """One end of a channel, as far as it only looks."""

    __slots__ = ("_core",)

    def __init__(self, core: Core[T]) -> None:
        self._core = core

    @property
    def capacity(self) -> int:
        """Slots that are free right now: not taken, reserved, or promised to someone in line."""
        return self._core.free

    @property
    def max_capacity(self) -> int | None:
        """The bound in slots; None if unbounded."""
        return self._core.capacity

    @property
    def strong_count(self) -> int:
        """Living senders, owned permits included."""
        return self._core.senders

    @property
    def weak_count(self) -> int:
        """Living weak senders."""
        return self._core.weak_senders

    def statistics(self) -> ChannelStatistics:
        """Everything there is to know about the channel, now."""
        return self._core.statistics()
