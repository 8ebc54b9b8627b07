"""Who is told what came of the items of one call of a batch handler.

An item that calls and those that stand behind it in its lane are a line: what came of one is told
only as long as none before it has to be tried again.  Decides that, and runs nothing.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from service.errors import PermanentError


class Companion(Protocol):
    """An item that goes into the call of one that it stands behind."""

    @property
    def item(self) -> Any:
        """As a caller would give it."""
        ...

    @property
    def answer(self) -> "asyncio.Future[Any]":
        """Where what came of it goes; done early if nobody wants to know any more."""
        ...

    def put_back(self) -> None:
        """Leave it to its own turn, as if it had not been here; the last of a lane first.

        Also if it has been told what came of it, as long as its turn has not come.
        """
        ...


class Behind(Protocol):
    """Knows what stands behind an item."""

    def count(self, item: Any, /) -> int:
        """How many may stand behind ``item``."""
        ...

    def take(self, item: Any, most: int, /) -> Sequence[Companion]:
        """Let up to ``most`` of those behind ``item`` come along, the next one first."""
        ...


class Line:
    """An item that calls, and its companions.

    Attributes:
        broken: One of them is to be tried again, so what is behind it waits.
        companions: Those that go along with it, in their order.
    """

    __slots__ = ("broken", "companions")

    def __init__(self) -> None:
        self.broken = False
        self.companions: Sequence[Companion] = ()

    def give_up(self) -> None:
        """Its caller has given up, and may call again: what is behind waits for that."""
        self.broken = True
        for companion in reversed(self.companions):
            companion.put_back()


class Place:
    """One item of a batch, and who is told what came of it.

    Args:
        item: As its caller gave it.
        given: What the function takes for it.
        answer: Where what came of it goes.
        line: It and those before and behind it.
        companion: It, if it does not call by itself.
        error: Why there is nothing that could be given to the function.
    """

    __slots__ = ("answer", "companion", "error", "given", "item", "line")

    def __init__(
        self,
        item: Any,
        given: Any,
        answer: "asyncio.Future[Any]",
        line: Line,
        *,
        companion: Companion | None = None,
        error: Exception | None = None,
    ) -> None:
        self.item = item
        self.given = given
        self.answer = answer
        self.line = line
        self.companion = companion
        self.error = error

    def settle(self, result: Any) -> None:
        """Tell what came of it, unless it has to wait for one before it."""
        if self.answer.done():  # whoever asked gave up meanwhile, and may ask again
            self.line.broken = True
        elif self.line.broken:
            return
        elif isinstance(result, BaseException):
            self.answer.set_exception(_bearable(result))
            if self.companion is not None:
                self.answer.exception()  # its turn may never come, which is nothing to warn of
            self.line.broken = not isinstance(result, PermanentError)
        else:
            self.answer.set_result(result)

    def put_back(self) -> None:
        """Let go of a companion that was not told anything."""
        if self.companion is not None and not self.answer.done():
            self.companion.put_back()


def _bearable(error: BaseException) -> BaseException:
    """``error``, or what a coroutine makes of one that no future takes."""
    if not isinstance(error, StopIteration):
        return error
    borne = RuntimeError("a batch handler returned StopIteration")
    borne.__cause__ = error
    return borne


def wanted(places: list[Place]) -> Iterator[Place]:
    """Those that somebody waits for and that need not wait for one before them."""
    for place in places:
        if place.answer.done():
            place.line.broken = True
        elif not place.line.broken:
            yield place


def settle(places: list[Place], results: Iterator[Any]) -> None:
    """Tell everybody what came of it; there is a result for each that could be given."""
    for place in places:
        place.settle(next(results) if place.error is None else place.error)
    # at once, before those who were told go on: what a call has changed is undone backwards
    put_back(places)


def put_back(places: list[Place]) -> None:
    """Let go of the companions that were told nothing, the last first."""
    for place in reversed(places):
        place.put_back()
