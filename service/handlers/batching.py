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
from collections.abc import Callable
from typing import Any, Final

from service.handlers.batch_places import Behind, Companion, Line, Place, put_back
from service.handlers.batch_run import BatchFunction, run

_LEAD: Final = object()
"""What a waiting caller is told instead of a result: go on in the leader's place."""


class _Batch:
    """Items that will be handled together.

    It is open, so that more may join, until ``closed`` is done; then its leader runs it.
    """

    __slots__ = ("behind", "closed", "members")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.closed: asyncio.Future[None] = loop.create_future()
        self.members: list[Place] = []
        self.behind = 0  # how many stood behind its members when they came

    def waiting(self) -> list[Place]:
        """The members that somebody still waits for."""
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
        limit: With so many items under way in all calls, no companions go along; twice ``size``
            if it is not given.
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
        self._open: _Batch | None = None

    async def call(self, item: Any) -> Any:
        """The function's result for ``item``.

        Cancel safety: a cancelled call does not take the rest of its batch with it.
        """
        given = item if self._prepare is None else self._prepare(item)
        mine = Place(item, given, asyncio.get_running_loop().create_future(), Line())
        self._under_way += 1
        try:
            batch = self._open
            if batch is None:
                batch = self._open = _Batch(asyncio.get_running_loop())
                self._join(batch, mine)
                return await self._lead(batch, mine)
            self._join(batch, mine)
            return await self._follow(batch, mine)
        except asyncio.CancelledError:
            mine.line.give_up()
            raise
        finally:
            self._under_way -= 1

    # -- one batch -------------------------------------------------------------------------

    def _join(self, batch: _Batch, mine: Place) -> None:
        batch.members.append(mine)
        if self.behind is not None:
            batch.behind += self.behind.count(mine.item)
        if len(batch.members) + min(batch.behind, self._room) >= self._size:
            self._close(batch)

    def _close(self, batch: _Batch) -> None:
        """Let nobody else join."""
        if not batch.closed.done():
            batch.closed.set_result(None)
            self._open = None

    async def _follow(self, batch: _Batch, mine: Place) -> Any:
        """Wait for this caller's share, or lead if it is told to."""
        answer = mine.answer
        try:
            told = await answer
        except asyncio.CancelledError:
            if _tells_to_lead(answer):  # and was cancelled in the same turn of the loop
                self._pass_on(batch)
            raise
        if told is not _LEAD:
            return told
        mine.answer = asyncio.get_running_loop().create_future()  # for its own result, this time
        return await self._lead(batch, mine)

    async def _lead(self, batch: _Batch, mine: Place) -> Any:
        """Wait until ``batch`` is full or has lingered, run it and tell everybody their share."""
        try:
            if not batch.closed.done():
                await asyncio.wait([batch.closed], timeout=self._linger_s)
                self._close(batch)
            await self._run_together(batch.waiting())
        except asyncio.CancelledError:
            if not mine.answer.cancel():
                mine.answer.exception()  # settled already; nobody else will look at it
            self._pass_on(batch)
            raise
        return mine.answer.result()

    def _pass_on(self, batch: _Batch) -> None:
        """Have another caller lead; with nobody left, the batch is over."""
        waiting = batch.waiting()
        if waiting:
            waiting[0].answer.set_result(_LEAD)
        else:
            self._close(batch)

    # -- companions ------------------------------------------------------------------------

    @property
    def _room(self) -> int:
        """How many companions may go along."""
        return max(0, self._limit - self._under_way)

    async def _run_together(self, members: list[Place]) -> None:
        """Run the function for ``members``, and for as many of those behind them as fit."""
        places = self._with_companions(members)
        companions = len(places) - len(members)
        self._under_way += companions
        try:
            await run(self._function, places)
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


def _tells_to_lead(answer: "asyncio.Future[Any]") -> bool:
    told = answer.done() and not answer.cancelled() and answer.exception() is None
    return told and answer.result() is _LEAD
