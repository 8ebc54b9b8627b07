"""``buffer_unordered``: run many, hand out what is finished, keep each lane in order."""

import asyncio
from collections.abc import Callable, Hashable
from itertools import repeat
from typing import Final, TypeVar, cast

from service.errors import StreamError
from service.streams.calls import Call, Eager, Given, Kind, Kinds, Later, Work, as_call, drop
from service.streams.lanes import Lanes
from service.streams.polling import PENDING, HeldPull, Pending
from service.streams.stage import CHUNK, Stage
from service.streams.workers import Workers

U = TypeVar("U")

AT_ONCE: Final = 384
"""Most results not handed out of calls that have ended at once, where ``limit`` is lower.

None of them was in flight beside another, so the limit does not concern them; one at a time, what
is done with results would cost more than the calls.
"""


class BufferUnordered(Stage[U]):
    """Runs the calls among the items of ``source`` and hands out results as they come.

    Counted in items: at most ``limit`` run or are finished and not handed out, at most
    ``max_waiting`` more were accepted and wait for a slot, a lane or their time; then the source
    is not pulled.  Nor is it while as many calls are queued as may run, or as may go out at once.
    Results of calls go out in chunks of at most ``limit``; the slots of a chunk are free from the
    moment it is handed to the consumer, or to a consumer that waits for it.  Results that ``eager``
    gives, which were never in flight beside another, go up to ``AT_ONCE``.

    Cancel safety: calls go on while a ``pull`` is cancelled; their results go out later.
    """

    def __init__(
        self,
        source: Stage[U | Work[U]],
        limit: int,
        ordered_by: Callable[[U | Work[U]], Hashable | None] | None,
        max_waiting: int,
        *,
        eager: Eager | None = None,
        lanes: Lanes[Call[U]] | None = None,
    ) -> None:
        super().__init__(source)
        self._sleeper: asyncio.Future[None] | None = None
        self._source = source
        self._limit = limit
        self._most = limit if eager is None else max(limit, AT_ONCE)
        self._ordered_by = ordered_by
        self._max_waiting = max_waiting
        self._kinds = Kinds()
        self._lanes = Lanes[Call[U]]() if lanes is None else lanes
        self._children = self._own_children(self._wake)
        self._workers = Workers(
            limit,
            self._children,
            finished=self._finished,
            failed=self._failed,
            admit=self._lanes.submit,
            eager=None if eager is None else self._begin,
            drained=self._drained,
        )
        self._eager = eager
        self._worth_beginning = True
        self._held = HeldPull(source, self._children)
        self._parked: dict[object, asyncio.TimerHandle] = {}
        self._done: list[U] = []
        self._done_in_slots = 0  # of those in _done, how many still occupy a slot
        self._asked = 0  # how many results the consumer waits for; 0 while it does not wait
        self._failure: Exception | None = None
        self._source_failure: Exception | None = None
        self._exhausted = False

    async def _pull(self, limit: int) -> list[U] | None:
        if self._asked:
            raise StreamError("another task is already waiting for this stream")
        most = min(limit, self._most)
        while not self._children.stopped:
            passed = await self._refill(limit)
            if passed is not None:
                return passed
            if self._done:
                return self._take(most)
            if self._failure is not None:
                raise self._failure
            if self._exhausted and not self._unfinished():
                if self._source_failure is not None:
                    raise self._source_failure
                return None
            await self._wait(most)
        return None

    async def _refill(self, limit: int) -> list[U] | None:
        """Accept what the source has, within the bound; return items that just pass through."""
        while self._failure is None and not self._exhausted:
            room = self._room()
            if not self._worth_a_pull(room):
                break
            try:
                chunk = await self._next(min(room, max(self._most, CHUNK)))
            except Exception as error:  # noqa: BLE001 -- raised after the items before it
                self._source_failure = error
                chunk = None
            if chunk is PENDING:
                break
            if chunk is None:
                self._exhausted = True
                break
            if len(chunk) <= limit and self._passes(chunk):
                return cast("list[U]", chunk)
            self._accept(chunk)
            if self._done:  # these do not wait for what else the source may have
                break
        return None

    def _passes(self, chunk: list[U | Work[U]]) -> bool:
        """Whether ``chunk`` is all results and nothing is under way that they could overtake."""
        if self._unfinished() or self._done:
            return False
        return self._kinds.common(cast("list[object]", chunk)) is Kind.READY

    async def _next(self, room: int) -> list[U | Work[U]] | Pending | None:
        if not (self._unfinished() or self._done or self._held.held):
            return await self._source.pull(room)  # nothing else can happen: wait right here
        chunk = self._held.poll(room)
        if chunk is PENDING and not self._done:
            self._held.hold(room)
        return chunk

    def _room(self) -> int:
        """How many items the source may hand over without breaking the bound."""
        waiting = self._queued()
        if self._ordered_by is None:  # else any of them may still have to wait for its lane
            waiting -= self._workers.slots
        return self._max_waiting - waiting - len(self._lanes) - len(self._parked)

    def _worth_a_pull(self, room: int) -> bool:
        """Pull when workers run out of calls, in good parts of the bound.

        What is accepted long before its turn has left the processor's cache when it comes.  The
        rest of the bound is for calls that wait for their lane or their time.
        """
        if room <= 0:
            return False
        queued = self._queued()
        return self._workers.slots > queued or (
            queued < self._most and room * 4 >= self._max_waiting
        )

    def _queued(self) -> int:
        """How many calls have no slot yet, and wait for nothing else or were not asked."""
        return len(self._workers.queue) + len(self._workers.ahead)

    def _unfinished(self) -> int:
        """How many accepted items have no result yet: queued, in a lane, parked or running."""
        running = self._limit - self._workers.slots - self._done_in_slots
        return self._queued() + len(self._lanes) + len(self._parked) + running

    def _accept(self, chunk: list[U | Work[U]]) -> None:
        kind = self._kinds.common(cast("list[object]", chunk))
        try:
            if kind is Kind.READY and self._ordered_by is None:
                self._done.extend(cast("list[U]", chunk))
            elif kind is Kind.CALL:
                ordered_by = self._ordered_by
                keys = repeat(None) if ordered_by is None else map(ordered_by, chunk)
                calls = cast("list[Call[U]]", chunk)
                queued = self._queued()
                self._workers.queue.extend(zip(keys, calls, strict=False))
                if self._queued() < queued + len(calls):
                    self._failed(RuntimeError("ordered_by raised StopIteration"))
            else:
                self._sort(chunk)
        except Exception as error:  # noqa: BLE001 -- of ordered_by; raised by the next pull
            self._failed(error)
        self._worth_beginning = True
        self._workers.kick()

    def _sort(self, chunk: list[U | Work[U]]) -> None:
        """Put every item where it belongs: to the results, or in line for its lane and a worker.

        A result that has a lane stands in line as well, since what came before it may do so.
        """
        kind_of, ordered_by = self._kinds.of, self._ordered_by
        queue, done = self._workers.queue, self._done
        for item in chunk:
            kind = kind_of[type(item)]
            key = None if ordered_by is None else ordered_by(item)
            if kind is not Kind.READY:
                queue.append((key, as_call(item, kind)))
            elif key is None or not self._unfinished():
                done.append(cast("U", item))
            else:
                queue.append((key, Given(cast("U", item))))

    def _take(self, limit: int) -> list[U]:
        done = self._done
        if len(done) <= limit:
            chunk, self._done = done, []
        else:
            chunk = done[:limit]
            del done[:limit]
        freed = max(0, self._done_in_slots - len(self._done))
        self._done_in_slots -= freed
        self._workers.slots += freed
        self._workers.kick()
        return chunk

    async def _wait(self, limit: int) -> None:
        """Sleep until there is a result, a failure, or something from the source."""
        self._asked = limit
        self._sleeper = asyncio.get_running_loop().create_future()
        try:
            await self._sleeper
        except asyncio.CancelledError:
            # The results that were as good as taken are not: they need slots again.
            self._workers.slots -= len(self._done) - self._done_in_slots
            self._done_in_slots = len(self._done)
            raise
        finally:
            self._asked = 0
            self._sleeper = None

    def _wake(self) -> None:
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is not None and not sleeper.done():
            sleeper.set_result(None)

    def _drained(self) -> None:
        """Nothing is queued any more: there may be room again for what the source has."""
        if self._sleeper is not None and not self._held.held and not self._exhausted:
            self._wake()

    def _finished(self, key: Hashable | None, result: U | Later[U]) -> bool:
        """Take the result of a call; return whether its slot is free now."""
        if self._over:
            return True  # of a call that went on although it was cancelled: nobody wants it
        if isinstance(result, Later):
            self._park(key, result)
            return True
        self._done.append(result)
        if key is not None:
            self._leave(key)
        if self._sleeper is not None:
            self._wake()
        if len(self._done) < self._asked:
            return True  # in the hands of a consumer that waits for it and more
        self._done_in_slots += 1
        return False

    def _begin(self) -> tuple[Hashable | None, Call[U]] | None:
        """Let calls begin that may end at once; returns one that has begun and waits."""
        if not self._worth_beginning or self._eager is None:
            return None
        workers, done = self._workers, self._done
        try:
            most = workers.slots + self._most - self._limit
            results, begun = self._eager(workers.queue, self._lanes, most)
        except Exception as error:  # noqa: BLE001 -- raised by the next pull
            workers.drop_queue()
            self._failed(error)
            return None
        # until there is something new: those that wait would all begin here, one at a time
        self._worth_beginning = bool(results)
        in_hands = min(len(results), max(0, self._asked - 1 - len(done)))  # see _finished
        in_slots = len(results) - in_hands
        done.extend(results)
        self._done_in_slots += in_slots
        workers.slots -= in_slots
        if results and self._sleeper is not None:
            self._wake()
        if begun is not None and begun[0] is not None:
            self._lanes.submit(*begun)
        return begun

    def _leave(self, key: Hashable) -> None:
        """Let the next call of the lane go: it was asked before everything that is queued."""
        following = self._lanes.finish(key)
        if following is not None:
            self._workers.ahead.append((key, following[0]))

    def _park(self, key: Hashable | None, later: Later[U]) -> None:
        token = object()
        self._parked[token] = asyncio.get_running_loop().call_later(
            max(later.delay_s, 0), self._unpark, token, key, later.call
        )

    def _unpark(self, token: object, key: Hashable | None, call: Call[U]) -> None:
        del self._parked[token]
        self._workers.ahead.append((key, call))
        self._workers.kick()

    def _failed(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._wake()

    def _halt(self) -> None:
        for timer in self._parked.values():
            timer.cancel()
        self._parked.clear()
        self._workers.drop_queue()
        for waiting in self._lanes.clear():
            drop(waiting)

    async def _release(self) -> None:
        for pulled in self._held.leftover():
            drop(pulled)
