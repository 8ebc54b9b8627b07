"""The items that a concurrent combinator runs: what they are, and how they are told apart."""

from collections import deque
from collections.abc import Awaitable, Callable, Container, Coroutine, Hashable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar, cast

U_co = TypeVar("U_co", covariant=True)
U = TypeVar("U")


@dataclass(slots=True)
class Later(Generic[U_co]):
    """What a call returns to be continued after ``delay_s`` seconds by ``call``.

    Its slot is free meanwhile; its lane is not, so order is kept.
    """

    delay_s: float
    call: "Callable[[], Awaitable[U_co | Later[U_co]]]"


Call: TypeAlias = Callable[[], Awaitable[U | Later[U]]]
"""Work that was not started; dropped unstarted it leaves nothing behind, so it is preferred."""

Work: TypeAlias = Call[U] | Awaitable[U | Later[U]]
"""What the concurrent combinators run: a call, or an awaitable."""


class Eager(Protocol):
    """Begins calls in the task that asks, for the many that end without having waited.

    A task's machinery costs more than a call that finds what it needs at hand.
    """

    def __call__(
        self,
        queue: "deque[tuple[Hashable | None, Call[Any]]]",
        busy: Container[Hashable],
        most: int,
    ) -> "tuple[list[Any], tuple[Hashable | None, Call[Any]] | None]":
        """Begin calls from the front of ``queue``, in their order, and take them off it.

        Args:
            queue: Lanes (``None`` is no lane) and calls.
            busy: Lanes whose next call may not begin.
            most: How many may be begun.

        Returns:
            The results of those that have ended; and of the one behind them, if it was begun and
            waits, or ended in any other way than with a result, its lane and a call that gives the
            awaitable of the rest.  The first call that it does not want to begin, or may not, ends
            it.  It raises nothing that a call has raised.
        """
        ...


class Kind(Enum):
    """What an item is to a concurrent combinator."""

    READY = auto()
    CALL = auto()
    AWAITABLE = auto()


class Kinds:
    """Tells the kinds of items apart, looking at each type once."""

    __slots__ = ("of",)

    def __init__(self) -> None:
        self.of: Final[dict[type, Kind]] = {}
        """The kind of every type that was in a list given to ``common``."""

    def common(self, items: list[object]) -> Kind | None:
        """Return the kind that all of ``items`` are, or ``None`` if they differ.

        Costs one set operation for the whole list.
        """
        kinds = {self.of.get(kind) or self._learn(kind) for kind in set(map(type, items))}
        return kinds.pop() if len(kinds) == 1 else None

    def _learn(self, kind: type) -> Kind:
        known = self.of[kind] = _classify(kind)
        return known


def _classify(kind: type) -> Kind:
    # In the class itself, as Python looks for them: hasattr() would find type.__call__ too.
    methods = {name for base in kind.__mro__ for name in vars(base)}
    if "__await__" in methods:
        return Kind.AWAITABLE
    return Kind.CALL if "__call__" in methods else Kind.READY


class Started(Generic[U]):
    """An awaitable in the form of a call."""

    __slots__ = ("_awaitable",)

    def __init__(self, awaitable: Awaitable[U]) -> None:
        self._awaitable = awaitable

    def __call__(self) -> Awaitable[U]:
        """Hand the awaitable over to be awaited."""
        return self._awaitable


class Given(Generic[U]):
    """A result in the form of a call, for one that must not overtake calls."""

    __slots__ = ("_result",)

    def __init__(self, result: U) -> None:
        self._result = result

    async def __call__(self) -> U:
        """Return the result at once."""
        return self._result


def as_call(item: object, kind: Kind) -> "Call[U]":
    """Return an item that is work in the form of a call."""
    if kind is Kind.AWAITABLE:
        return Started(cast("Awaitable[U | Later[U]]", item))
    return cast("Call[U]", item)


def drop(work: object) -> None:
    """Let go of work that will not run: a coroutine would else warn that nobody awaited it."""
    if isinstance(work, Started):
        work = work()
    if isinstance(work, Coroutine):
        work.close()
