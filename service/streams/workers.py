"""A fixed set of long-lived tasks that run calls from a queue.

A task per call costs more than most calls.  Here a worker runs one call after another for as
long as they do not wait; only when one waits does another worker go on with the queue.  Workers
wake each other in a chain: whoever starts a call while more is queued wakes the next one, and
nobody wakes two.  So calls that never wait cost one superfluous wake per chunk, and calls that
do wait are all started within one pass through the event loop.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar, cast

from service.errors import StreamError
from service.streams.calls import drop
from service.streams.children import Child, Children, cancelled_by_others, was_cancelled

Tag = TypeVar("Tag")
R = TypeVar("R")


class Workers(Generic[Tag, R]):
    """Runs what is in ``ahead``, then what is in ``queue``, at most ``slots`` calls at once.

    The owner appends ``(tag, call)`` to ``queue``, calls ``kick``, and gives back a slot by
    adding to ``slots`` and calling ``kick`` again.

    Args:
        limit: Most workers; they are started as they are needed.
        children: Who owns them.
        finished: Takes the tag and the result of a call; says whether its slot is free at once.
        failed: Takes the exception of a call.
        admit: Asked about what comes out of ``queue`` with a tag that is not ``None``: whether it
            may start now.  What may not is the owner's again, who puts it in ``ahead`` later.
        eager: Asked before something comes out of ``queue``: may begin what is there, and gives one
            back, begun and admitted, with the rest of which a worker goes on.
        drained: Called when nothing is left that could start.

    Attributes:
        queue: What was not asked about yet, in the order of its arrival.
        ahead: What may start now and has waited before, so it is older than all of ``queue``.
    """

    def __init__(
        self,
        limit: int,
        children: Children,
        *,
        finished: Callable[[Tag, R], bool],
        failed: Callable[[Exception], None],
        admit: Callable[[Tag, Callable[[], Awaitable[R]]], bool] | None = None,
        eager: Callable[[], tuple[Tag, Callable[[], Awaitable[R]]] | None] | None = None,
        drained: Callable[[], None] | None = None,
    ) -> None:
        self.queue: deque[tuple[Tag, Callable[[], Awaitable[R]]]] = deque()
        self.ahead: deque[tuple[Tag, Callable[[], Awaitable[R]]]] = deque()
        self.slots = limit
        self._limit = limit
        self._children = children
        self._finished = finished
        self._failed = failed
        self._admit = admit
        self._eager = eager
        self._drained = drained
        self._idle: list[asyncio.Future[None]] = []
        self._started = 0
        self._waking = False

    def kick(self) -> None:
        """Let one more worker look at the queue, unless one is on its way or none could go."""
        if self._waking or self.slots <= 0 or not (self.queue or self.ahead):
            return
        if self._idle:
            self._waking = True
            self._idle.pop().set_result(None)
        elif self._started < self._limit:
            self._waking = True
            self._started += 1
            self._children.start(self._run())

    def drop_queue(self) -> None:
        """Let go of what was not started."""
        for calls in (self.ahead, self.queue):
            for _, call in calls:
                drop(call)
            calls.clear()

    async def _run(self) -> None:  # noqa: C901, PLR0912 -- the hot loop of every call
        queue, ahead = self.queue, self.ahead
        finished, admit, drained = self._finished, self._admit, self._drained
        eager, children = self._eager, self._children
        child = cast("Child", asyncio.current_task())
        while True:
            self._waking = False
            while (ahead or queue) and self.slots > 0:
                if ahead:
                    tag, call = ahead.popleft()
                elif eager is not None and (begun := eager()) is not None:
                    tag, call = begun
                elif not queue or self.slots <= 0:
                    continue  # all of it has ended
                else:
                    tag, call = queue.popleft()
                    try:
                        if admit is not None and tag is not None and not admit(tag, call):
                            continue
                    except Exception as error:  # noqa: BLE001 -- of a tag that is no key
                        drop(call)
                        self._fail(error)
                        continue
                self.slots -= 1
                if queue or ahead:
                    if not self._waking:
                        self.kick()
                elif drained is not None:
                    drained()
                try:
                    result = await call()
                    if finished(tag, result):
                        self.slots += 1
                    if child.from_inside:
                        await child.take_back()  # of a call that has a result all the same
                except asyncio.CancelledError as error:
                    if children.stopped:
                        raise
                    self._fail(StreamError("a call was cancelled from inside"), error)
                    if was_cancelled():
                        raise  # by nobody who owns it: whoever it was waits for its end
                except Exception as error:  # noqa: BLE001 -- the consumer raises it
                    self._fail(error)
            if drained is not None and not queue:
                drained()
            if children.stopped:
                return  # the call has swallowed that it was cancelled
            await self._idle_until_woken(child)

    async def _idle_until_woken(self, child: Child) -> None:
        wake = child.get_loop().create_future()
        self._idle.append(wake)
        try:
            await wake
        except asyncio.CancelledError as error:
            if self._children.stopped:
                raise
            if wake in self._idle:  # else it was about to go on
                self._idle.remove(wake)
            if cancelled_by_others(child):
                self._fail(StreamError("a worker of a stream was cancelled"), error)
                raise
            await child.take_back()  # it was meant for a call that is over

    def _fail(self, error: Exception, cause: BaseException | None = None) -> None:
        """Start nothing more; the owner tells the consumer, who closes the stream."""
        error.__cause__ = cause or error.__cause__
        self.drop_queue()
        self._failed(error)
