"""Ask a source whether it has something now, and keep asking in the background if it has not.

Rust polls; Python awaits.  Two things stand in for polling: a pull that is cancelled on the spot
when it would wait (allowed, because no pull loses an item by being cancelled), and a pull that
is held in a task of its own while its consumer waits for something else too.
"""

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Final, Generic, TypeVar, cast

from service.errors import StreamError
from service.streams.children import Children, was_cancelled
from service.streams.stage import Stage

T = TypeVar("T")


class Pending(Enum):
    """The type of ``PENDING``, the answer of a source that has nothing yet."""

    PENDING = "pending"


class Resting(Enum):
    """The type of ``RESTING``, the answer of a source that first lets other tasks run."""

    RESTING = "resting"


PENDING: Final = Pending.PENDING
RESTING: Final = Resting.RESTING


def poll(pull: Coroutine[object, None, T]) -> T | Pending | Resting:
    """Run ``pull`` if it need not wait; else cancel it and answer ``PENDING``.

    ``RESTING`` means that it only let the event loop turn, to keep within its budget, and may
    well have something at once after that.

    Raises:
        StreamError: If ``pull`` waits even while it is cancelled, which no pull may do.
    """
    try:
        waits_for = pull.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    try:
        pull.throw(asyncio.CancelledError())
    except asyncio.CancelledError:
        return RESTING if waits_for is None else PENDING  # sleep(0) yields None, the rest futures
    except StopIteration as done:  # it got its items after all and kept them through the cancel
        return cast("T", done.value)
    pull.close()
    raise StreamError("a pull waits although it was cancelled")


class HeldPull(Generic[T]):
    """One pull of ``source`` that goes on while its consumer does something else.

    It is never cancelled by its consumer's cancellation, so nothing is lost; the consumer takes
    the result whenever it comes back.

    Args:
        source: What is pulled.
        children: Who owns the task of a pull that waits, and is woken (once per held pull, from
            the event loop) when the result is there.  When they have stopped, that is the end.
    """

    __slots__ = ("_children", "_held", "_outcome", "_source")

    def __init__(self, source: Stage[T], children: Children) -> None:
        self._source = source
        self._children = children
        self._held = False
        self._outcome: Callable[[], list[T] | None] | None = None

    @property
    def held(self) -> bool:
        """Whether a pull is under way or its result waits to be taken."""
        return self._held

    def poll(self, limit: int) -> list[T] | Pending | None:
        """Return what is there now: items, the end (``None``), or ``PENDING``."""
        if self._children.stopped:
            return None
        if not self._held:
            found = poll(self._source.pull(limit))
            return PENDING if found is RESTING else found
        if self._outcome is None:
            return PENDING
        outcome, self._outcome, self._held = self._outcome, None, False
        chunk = outcome()
        if chunk is not None and len(chunk) > limit:  # it was asked for when more was wanted
            rest = chunk[limit:]
            del chunk[limit:]
            self._outcome, self._held = (lambda: rest), True
        return chunk

    def hold(self, limit: int) -> None:
        """Go on pulling in the background; does nothing while a pull is held."""
        if not self._held:
            self._held = True
            self._children.start(self._run(limit))

    def leftover(self) -> list[T]:
        """Give up the result that nobody took, for an owner that is closing."""
        outcome, self._outcome = self._outcome, None
        try:
            return (outcome() if outcome is not None else None) or []
        except Exception:  # noqa: BLE001 -- nobody is left to raise it to
            return []

    async def _run(self, limit: int) -> None:
        try:
            chunk = await self._source.pull(limit)
        except asyncio.CancelledError as error:
            if self._children.stopped:
                raise
            self._outcome = _raiser(StreamError("a source was cancelled from inside"), error)
            if was_cancelled():  # by nobody who owns it, so the consumer has to hear of it
                self._children.wake()
                raise
        except Exception as error:  # noqa: BLE001 -- handed to the consumer, who raises it
            self._outcome = _raiser(error)
        else:
            self._outcome = lambda: chunk
        self._children.wake()


def _raiser(error: Exception, cause: BaseException | None = None) -> Callable[[], None]:
    def fail() -> None:
        raise error from cause

    return fail
