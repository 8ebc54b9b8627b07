"""A coroutine that was begun by hand, continued by ``await``.

Whoever calls ``send(None)`` itself learns whether a coroutine ends without waiting, and has paid
for nothing else if it does.  One that waits goes on as if it had been awaited from the start, as
long as that is done by the same task.
"""

from collections.abc import Generator
from types import CoroutineType
from typing import Any


class Begun:
    """The rest of a coroutine.

    Cancel safety: what is thrown into whoever awaits this is thrown into the coroutine.

    Args:
        coroutine: What was begun; or any awaitable, which was not.
        waits_for: What ``send`` returned.
    """

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: Any, waits_for: object) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, None, Any]:
        """What the coroutine returns or raises in the end."""
        coroutine, waits_for = self._coroutine, self._waits_for
        while type(coroutine) is CoroutineType:
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001 -- what is thrown is for the coroutine
                try:
                    waits_for = coroutine.throw(error)
                except StopIteration as ended:
                    return ended.value
            else:
                break
        return (yield from coroutine.__await__())
