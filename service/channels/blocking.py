"""How a thread that has no event loop uses a channel that lives on one."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

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
    call = asyncio.run_coroutine_threadsafe(operation(*args, **kwargs), loop)
    try:
        return call.result()
    except BaseException:  # of the thread itself too: an interrupt must not leave the call waiting
        call.cancel()
        raise
