"""How a thread that has no event loop uses a channel that lives on one."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop of this thread; ``None`` if it runs none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def run_on_loop(
    loop: asyncio.AbstractEventLoop | None,
    operation: Callable[_P, Coroutine[Any, Any, _R]],
    *args: _P.args,
    **kwargs: _P.kwargs,
) -> _R:
    """Run ``operation`` as a task of ``loop`` and block this thread until it has ended.

    A thread's own calls keep their order, because each one waits for its end.  The task belongs
    to the loop: if the loop stops, the call ends with the loop's cancellation of its tasks.  If
    this thread is interrupted meanwhile, the task is cancelled.

    Raises:
        RuntimeError: If this thread runs an event loop, which would wait for itself; or if
            ``loop`` is None (the channel was made outside of one) or not running.
    """
    if running_loop() is not None:
        raise RuntimeError("a blocking call would stop this thread's event loop: await instead")
    if loop is None or not loop.is_running():
        raise RuntimeError("the channel's event loop is not running")
    call = _Call(loop, operation, *args, **kwargs)
    try:
        return asyncio.run_coroutine_threadsafe(call.run(), loop).result()
    except BaseException:  # of the thread itself too: an interrupt must not leave the call waiting
        call.take_back()
        raise


class _Call(Generic[_P, _R]):
    """An operation that can be taken back at any time, even before anybody has seen its task.

    A thread may be interrupted after the loop was told of the operation and before the thread
    holds anything by which it could cancel it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        operation: Callable[_P, Coroutine[Any, Any, _R]],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> None:
        self._loop = loop
        self._operation = partial(operation, *args, **kwargs)
        self._task: asyncio.Task[Any] | None = None
        self._taken_back = False

    async def run(self) -> _R:
        """What the loop runs."""
        if self._taken_back:
            raise asyncio.CancelledError
        self._task = asyncio.current_task()
        return await self._operation()

    def take_back(self) -> None:
        """Cancel it, if it has not ended; called by the thread."""
        self._taken_back = True
        with suppress(RuntimeError):  # a loop that is closed runs nothing any more
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
