"""Calls of one event each, gathered into calls of a handler that takes many.

There is no task of its own: the first caller of a batch leads it.  It waits until the batch is
full or has lingered, runs the handler and hands every other caller its share.  A leader that is
cancelled passes the batch on to the next caller that still waits, so a timeout of one event
costs the others no more than time.  Knows nothing of events: an item is whatever the caller has.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final

from service.errors import PermanentError, TransientError

BatchFunction = Callable[[list[Any]], Awaitable[Sequence[Any]]]

_NO_LIST: Final = (str, bytes, Mapping, set, frozenset)
"""What has a length too, so that a batch of one would publish its first letter or key."""


class _Lead:
    """What a waiting caller is told instead of a result: go on in the leader's place."""


_LEAD: Final = _Lead()


class _Batch:
    """Items that will be handled together, each with the future of its caller."""

    __slots__ = ("full", "members")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.full: asyncio.Future[None] = loop.create_future()
        self.members: list[tuple[Any, asyncio.Future[Any]]] = []

    def alive(self) -> list[tuple[Any, asyncio.Future[Any]]]:
        return [member for member in self.members if not member[1].done()]


class Batcher:
    """Turns a function of a list into one of an item.

    When the function raises anything but a `TransientError`, its batch is halved and each half
    tried again, so that one bad item fails alone.  Handlers see items more than once anyway.

    Args:
        function: Takes up to ``size`` items; returns as many results, where an exception is the
            failure of its own item.
        size: Most items per call.
        linger_s: Longest wait in seconds for a batch to fill.
    """

    def __init__(self, function: BatchFunction, *, size: int, linger_s: float) -> None:
        self._function = function
        self._size = size
        self._linger_s = linger_s
        self._filling: _Batch | None = None

    async def call(self, item: Any) -> Any:
        """The function's result for ``item``.

        Cancel safety: a cancelled call does not take the rest of its batch with it.
        """
        loop = asyncio.get_running_loop()
        batch = self._filling
        leads = batch is None
        if batch is None:
            batch = self._filling = _Batch(loop)
        mine: asyncio.Future[Any] = loop.create_future()
        batch.members.append((item, mine))
        if len(batch.members) >= self._size:
            self._filling = None
            batch.full.set_result(None)
        if not leads and not await self._followed(batch, mine):
            return mine.result()
        return await self._lead(batch, mine, item)

    async def _followed(self, batch: _Batch, mine: asyncio.Future[Any]) -> bool:
        """Wait for this caller's share; true if it is told to lead instead."""
        try:
            return await mine is _LEAD
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled() and mine.result() is _LEAD:
                self._pass_on(batch)  # told to lead and cancelled in the same turn of the loop
            raise

    async def _lead(self, batch: _Batch, mine: asyncio.Future[Any], item: Any) -> Any:
        if mine.done():  # it was told to lead: it needs a future for its own result again
            mine = asyncio.get_running_loop().create_future()
            batch.members.append((item, mine))
        try:
            await self._fill(batch)
            await self._run(batch.alive())
        except asyncio.CancelledError:
            if not mine.cancel():
                mine.exception()  # settled already; nobody else will look at it
            self._pass_on(batch)
            raise
        return mine.result()

    async def _fill(self, batch: _Batch) -> None:
        """Wait until no more items will come."""
        if not batch.full.done():
            await asyncio.wait([batch.full], timeout=self._linger_s)
        if self._filling is batch:
            self._filling = None
        if not batch.full.done():
            batch.full.set_result(None)

    def _pass_on(self, batch: _Batch) -> None:
        for _, future in batch.alive():
            future.set_result(_LEAD)
            return
        if self._filling is batch:
            self._filling = None

    async def _run(self, members: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        try:
            results = await self._checked([item for item, _ in members])
        except TransientError as error:
            _settle(members, [error] * len(members))
        except Exception as error:  # noqa: BLE001 -- handed to the callers, who classify it
            if len(members) == 1:
                _settle(members, [error])
                return
            half = len(members) // 2
            await self._run(members[:half])
            await self._run(members[half:])
        else:
            _settle(members, results)

    async def _checked(self, items: list[Any]) -> Collection[Any]:
        results: Any = await self._function(items)
        if not isinstance(results, Collection) or isinstance(results, _NO_LIST):
            raise PermanentError(
                f"the batch handler returned {type(results).__qualname__}: return a list of "
                "one result for each event, in which None is no result"
            )
        if len(results) != len(items):
            raise PermanentError(
                f"the batch handler returned {len(results)} results for {len(items)} events"
            )
        return results


def _settle(members: list[tuple[Any, asyncio.Future[Any]]], results: Collection[Any]) -> None:
    for (_, future), result in zip(members, results, strict=True):
        if future.done():  # its caller gave up meanwhile
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
