"""Calls of one item each, gathered into calls of a handler that takes many.

There is no task of its own: the first caller of a batch leads it.  It waits until the batch is
full or has lingered, runs the handler and hands every other caller its share.  A leader that is
cancelled passes the batch on to the next caller that still waits, so a timeout of one event
costs the others no more than time.

Where order counts, only one item of each lane calls at a time, and the others stand behind it.
They go along as its companions, in their order: what the handler says to them is kept until their
own turn, unless an earlier one of their lane has to be tried again.  Then so are they, after it.

Knows nothing of events and lanes: an item is whatever the caller has.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

from service.errors import PermanentError, TransientError
from service.handlers.batch_places import Behind, Companion, Line, Place, put_back, settle, wanted

BatchFunction = Callable[[list[Any]], Awaitable[Sequence[Any]]]

_NO_LIST: Final = (str, bytes, Mapping, set, frozenset)
"""What has a length too, so that a batch of one would publish its first letter or key."""


class _Lead:
    """What a waiting caller is told instead of a result: go on in the leader's place."""


_LEAD: Final = _Lead()


class _Batch:
    """Items that will be handled together."""

    __slots__ = ("behind", "full", "members")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.full: asyncio.Future[None] = loop.create_future()
        self.members: list[Place] = []
        self.behind = 0  # how many stood behind its members when they came

    def alive(self) -> list[Place]:
        return [member for member in self.members if not member.answer.done()]


class Batcher:
    """Turns a function of a list into one of an item.

    When the function raises anything but a `TransientError`, its batch is halved and each half
    tried again, so that one bad item fails alone.  Handlers see items more than once anyway.

    Args:
        function: Takes up to ``size`` items; returns as many results, where an exception is the
            failure of its own item.
        size: Most items per call.
        linger_s: Longest wait in seconds for a batch to fill.
        limit: Items under way in all calls from which on nobody goes along; twice ``size`` if it
            is not given.
        prepare: Makes of an item what the function takes; what it raises is the item's failure.

    Attributes:
        behind: What stands behind an item and may go along with it, if anybody knows.
    """

    def __init__(
        self,
        function: BatchFunction,
        *,
        size: int,
        linger_s: float,
        limit: int | None = None,
        prepare: Callable[[Any], Any] | None = None,
    ) -> None:
        self.behind: Behind | None = None
        self._function = function
        self._limit = 2 * size if limit is None else limit
        self._size = min(size, self._limit)  # so many may call at once
        self._linger_s = linger_s
        self._prepare = prepare
        self._under_way = 0
        self._companions_max = self._size
        self._filling: _Batch | None = None

    async def call(self, item: Any) -> Any:
        """The function's result for ``item``.

        Cancel safety: a cancelled call does not take the rest of its batch with it.
        """
        mine = self._place(item)
        self._under_way += 1
        try:
            return await self._called(mine)
        except asyncio.CancelledError:
            mine.line.give_up()
            raise
        finally:
            self._under_way -= 1

    def _place(self, item: Any) -> Place:
        given = item if self._prepare is None else self._prepare(item)
        return Place(item, given, asyncio.get_running_loop().create_future(), Line())

    async def _called(self, mine: Place) -> Any:
        batch = self._filling
        leads = batch is None
        if batch is None:
            batch = self._filling = _Batch(asyncio.get_running_loop())
        batch.members.append(mine)
        if self.behind is not None:
            batch.behind += self.behind.count(mine.item)
        if len(batch.members) + min(batch.behind, self._room) >= self._size:
            self._filling = None
            batch.full.set_result(None)
        if not leads and not await self._followed(batch, mine):
            return mine.answer.result()
        return await self._lead(batch, mine)

    @property
    def _room(self) -> int:
        """How many companions may go along."""
        return max(0, self._limit - self._under_way)

    async def _followed(self, batch: _Batch, mine: Place) -> bool:
        """Wait for this caller's share; true if it is told to lead instead."""
        answer = mine.answer
        try:
            return await answer is _LEAD
        except asyncio.CancelledError:
            if _tells_to_lead(answer):
                self._pass_on(batch)  # told to lead and cancelled in the same turn of the loop
            raise

    async def _lead(self, batch: _Batch, mine: Place) -> Any:
        if mine.answer.done():  # it was told to lead: it needs a future for its own result again
            mine.answer = asyncio.get_running_loop().create_future()
        try:
            await self._fill(batch)
            await self._run_together(batch.alive())
        except asyncio.CancelledError:
            if not mine.answer.cancel():
                mine.answer.exception()  # settled already; nobody else will look at it
            self._pass_on(batch)
            raise
        return mine.answer.result()

    async def _fill(self, batch: _Batch) -> None:
        """Wait until no more items will come."""
        if not batch.full.done():
            await asyncio.wait([batch.full], timeout=self._linger_s)
        if self._filling is batch:
            self._filling = None
        if not batch.full.done():
            batch.full.set_result(None)

    def _pass_on(self, batch: _Batch) -> None:
        for member in batch.alive():
            member.answer.set_result(_LEAD)
            return
        if self._filling is batch:
            self._filling = None

    async def _run_together(self, members: list[Place]) -> None:
        """Run the function for ``members``, and for as many of those behind them as fit."""
        places = self._with_companions(members)
        companions = len(places) - len(members)
        self._under_way += companions
        try:
            await self._run(places)
        finally:
            self._under_way -= companions
            put_back(places)
            if companions:
                self._learn(failed=any(place.line.broken for place in places))

    def _learn(self, *, failed: bool) -> None:
        """Take fewer along while calls fail: one that always does is soon among few."""
        if failed:
            self._companions_max = max(1, self._companions_max // 2)
        else:
            self._companions_max = min(self._size, 2 * self._companions_max)

    def _with_companions(self, members: list[Place]) -> list[Place]:
        room = min(self._size - len(members), self._companions_max, self._room)
        if self.behind is None or room <= 0:
            return members
        places: list[Place] = []
        for member in members:
            places.append(member)
            companions = self.behind.take(member.item, room) if room else ()
            room -= len(companions)
            member.line.companions = companions
            places += [self._beside(member, companion) for companion in companions]
        return places

    def _beside(self, member: Place, companion: Companion) -> Place:
        item = given = companion.item
        error = None
        if self._prepare is not None:
            try:
                given = self._prepare(item)
            except Exception as raised:  # noqa: BLE001 -- of this item, when its turn comes
                error = raised
        return Place(item, given, companion.answer, member.line, companion=companion, error=error)

    async def _run(self, places: list[Place]) -> None:
        waiting = list(wanted(places))
        asked = [place for place in waiting if place.error is None]
        try:
            results = await self._checked([place.given for place in asked]) if asked else ()
        except TransientError as error:
            settle(waiting, repeat(error))
        except Exception as error:  # noqa: BLE001 -- handed to the callers, who classify it
            if len(asked) == 1:
                settle(waiting, repeat(error))
                return
            half = len(waiting) // 2
            await self._run(waiting[:half])
            await self._run(waiting[half:])
        else:
            settle(waiting, iter(results))

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


def _tells_to_lead(answer: "asyncio.Future[Any]") -> bool:
    told = answer.done() and not answer.cancelled() and answer.exception() is None
    return told and answer.result() is _LEAD
