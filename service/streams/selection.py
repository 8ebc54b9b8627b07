"""Functions that make one stream of several, or of the clock."""

from collections.abc import Iterable
from typing import TypeVar

from service.streams.conversion import Streamable, stage_of
from service.streams.merging import Biased, Merge
from service.streams.stream import Stream
from service.streams.timing import Ticks

T = TypeVar("T")
U = TypeVar("U")


def select(first: Streamable[T], second: Streamable[U]) -> Stream[T | U]:
    """Return the items of both as they come, in turns if both have some.

    Goes on with one when the other ends; ends when both have ended.  Cancel-safe.
    """
    return Stream(Merge[T | U]((stage_of(first), stage_of(second))))


def select_biased(first: Streamable[T], second: Streamable[U]) -> Stream[T | U]:
    """Return the items of both as they come, those of ``first`` as long as it has some ready."""
    return Stream(Biased[T | U]((stage_of(first), stage_of(second))))


def select_all(sources: Iterable[Streamable[T]]) -> Stream[T]:
    """Return the items of all ``sources`` as they come; ends when all have ended.

    Use ``StreamMap`` for sources that come and go.
    """
    return Stream(Merge([stage_of(source) for source in sources]))


def interval(period_s: float) -> Stream[float]:
    """Return the moments now, now + ``period_s``, …, in seconds of the loop's clock, without end.

    The first comes at once.  A late consumer gets the missed ones one after the other.  Needs a
    running event loop.

    Raises:
        ValueError: If ``period_s`` is not positive.
    """
    if period_s <= 0:
        raise ValueError(f"period_s must be positive, not {period_s}")
    return Stream(Ticks(period_s))
