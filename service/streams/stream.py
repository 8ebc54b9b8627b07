"""The stream: what can be done with items that come one after the other, put together."""

from typing import TypeVar

from service.streams.composition import Composition
from service.streams.concurrency import Concurrency
from service.streams.finishers import Finishers
from service.streams.results import Results
from service.streams.sequences import Sequences
from service.streams.stage import Stage
from service.streams.transforms import Transforms
from service.streams.try_finishers import TryFinishers

T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")


class Stream(
    Transforms[T_co],
    Sequences[T_co],
    Concurrency[T_co],
    Composition[T_co],
    Results[T_co],
    Finishers[T_co],
    TryFinishers[T_co],
):
    """Items that come one after the other; iterate over it, or say what to do with them.

    A stream is lazy: nothing happens until somebody asks for an item.  It is fused: after the
    end, or an exception, it stays ended.  It has one owner: a combinator takes it over (lend it
    with ``by_ref``), and closing the last of a chain closes all of it.  Whoever does not run it
    to its end closes it, best by ``async with``.  One task at a time may ask for items.

    Items move in lists inside, so functions of a stream may run for some items ahead of the one
    that the consumer looks at, never further than the chunk at hand.
    """

    def _derived(self, stage: Stage[U]) -> "Stream[U]":
        return Stream(stage)
