"""The life of the handlers: opened one after the other, told the time, closed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog

from service.app.build import BuiltPipeline
from service.app.build_handlers import BuiltHandler
from service.delivery.failures import described
from service.errors import FatalError
from service.handlers.bound import BoundHandler
from service.handlers.context import HandlerContext
from service.handlers.results import MAX_TICK_RESULTS, TICK_AGAIN_RESULTS, to_results

log = structlog.get_logger(__name__)

TICK_S: Final = 1.0
"""Time between two ticks of the handlers that have timers."""

CLOSE_AGAIN_S: Final = 5.0
"""What the open handlers together get to close when another does not open, or something fails."""


async def closed(closing: Awaitable[object], until_s: float, **what: str) -> None:
    """Await ``closing`` until ``until_s`` (``loop.time()``), and log if that does not work.

    Everything is done and committed by then: what the user's code makes of its end must neither
    keep the process until it is killed nor have it end as if something had been left.

    Args:
        closing: What closes something of the user's.
        until_s: ``loop.time()`` after which nobody waits for it.
        what: What it is, for the log.
    """
    deadline = asyncio.timeout_at(until_s)
    try:
        async with deadline:
            await closing
    except Exception as exc:  # noqa: BLE001 -- the boundary of the user's code
        error = "not in time" if deadline.expired() else repr(exc)
        log.error("close failed", error=error, **what)  # noqa: TRY400 -- as a tick that fails


class HandlerLife:
    """Opens, ticks and closes the handlers of all pipelines.

    Args:
        pipelines: By name.

    Attributes:
        ticks_due_s: When each handler that wants to know is told the time next (``loop.time()``).
    """

    def __init__(self, pipelines: Mapping[str, BuiltPipeline]) -> None:
        self._pipelines = pipelines
        self._opened: list[BoundHandler] = []
        self.ticks_due_s: dict[object, float] = {}

    async def open(self, tasks: asyncio.TaskGroup, ending: asyncio.Event) -> bool:
        """Open all of them; false if the service was told to end before they are.

        A model that loads, a database that is away: then nobody waits for it any more.  Where
        not all are open, nothing will be read, and the pipelines' channels are closed.

        Args:
            tasks: Parent of the tasks; fails if a handler does not open.
            ending: Set when the service is told to end.
        """
        opening = tasks.create_task(self._open_each(), name="opening handlers")
        waiting = tasks.create_task(ending.wait(), name="waiting for the end")
        opened = False
        try:
            await asyncio.wait((opening, waiting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            opening.cancel()
            await asyncio.wait((opening,))
            opened = not opening.cancelled() and opening.exception() is None
        finally:
            if not opened:
                for built in self._pipelines.values():
                    built.inbox.close()
                    built.pipeline.inbox.close()
        return opened

    async def _open_each(self) -> None:
        for built in self._pipelines.values():
            for each in built.handlers:
                await self._open(built.name, each.bound, each.context)

    async def _open(self, pipeline: str, handler: BoundHandler, context: HandlerContext) -> None:
        try:
            await handler.open(context)
        except Exception as exc:
            # of several, and of several pipelines, the traceback alone does not say whose
            log.error(  # noqa: TRY400 -- the traceback follows, at the end of the process
                "handler does not open",
                pipeline=pipeline,
                handler=handler.name,
                error=described(exc),
            )
            await self._close_again()
            raise
        unused = [name for name in handler.spec.state if name not in context.asked]
        if unused:  # mostly misspelt on one of the two sides: the other name is forgotten
            log.warning(
                "declared state is not asked for",
                pipeline=pipeline,
                handler=handler.name,
                declared=unused,
                asked=sorted(context.asked),
            )
        self._opened.append(handler)

    async def _close_again(self) -> None:
        """Close those that are open, the latest first: an earlier one may be in use by a later."""
        until_s = asyncio.get_running_loop().time() + CLOSE_AGAIN_S
        while self._opened:
            handler = self._opened.pop()
            await closed(handler.close(), until_s, handler=handler.name)

    async def close(self, until_s: float) -> None:
        """Close those that are open, side by side, so that one that hangs holds up no other.

        Args:
            until_s: ``loop.time()`` after which nobody waits for them.
        """
        async with asyncio.TaskGroup() as tasks:
            for handler in self._opened:
                tasks.create_task(closed(handler.close(), until_s, handler=handler.name))

    def ticks(self, tasks: asyncio.TaskGroup) -> list["asyncio.Task[None]"]:
        """Begin to tell the time to those that want to know; cancel the tasks to end it."""
        return [
            tasks.create_task(
                self._tick(built.name, each, tick), name=f"tick of {built.name}.{each.bound.name}"
            )
            for built in self._pipelines.values()
            for each in built.handlers
            if (tick := each.bound.tick) is not None
        ]

    async def _tick(self, pipeline: str, each: BuiltHandler, tick: Callable[[float], Any]) -> None:
        """Give a handler the time, and publish what has become due."""
        loop = asyncio.get_running_loop()
        pause_s = TICK_S
        while True:
            self.ticks_due_s[each.bound] = loop.time() + pause_s
            await asyncio.sleep(pause_s)
            try:
                results = to_results(tick(loop.time()), MAX_TICK_RESULTS)
            except FatalError:
                raise
            except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 -- user's code
                # A cancellation too is what it has raised: nothing was awaited.
                # Its events go on, and so do other handlers and pipelines.
                log.error(  # noqa: TRY400 -- as timers that fail
                    "tick failed", pipeline=pipeline, handler=each.bound.name, error=repr(exc)
                )
                each.emitter.undo()
                pause_s = TICK_S
                continue
            await each.emitter.emit(results)
            pause_s = TICK_S if len(results) < TICK_AGAIN_RESULTS else 0
