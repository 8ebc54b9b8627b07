"""Sync handlers in threads: for those that block, or burn CPU outside the interpreter's lock.

The call becomes awaitable, so the dispatcher's lanes keep the order of keys as they do for any
async handler.  A call that is cancelled goes on in its thread (nothing can stop it) and keeps
that thread until it ends, so the pool is bounded by what it really runs.
"""

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from service.events import Event

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ThreadCalls:
    """Calls a sync function in a pool of threads of its own.

    Args:
        function: Takes an event; must be safe to call from several threads.
        threads: Most threads, and so most calls at a time.
        name: For the names of the threads.
    """

    def __init__(self, function: Callable[[Event], Any], *, threads: int, name: str) -> None:
        self._function = function
        self._pool = _Daemons(threads, f"headrace-{name}")

    def call(self, event: Event) -> Awaitable[Any]:
        """An awaitable of the function's result; what it raises comes out of it."""
        return asyncio.get_running_loop().run_in_executor(self._pool, self._run, event)

    def _run(self, event: Event) -> Any:
        try:
            return self._function(event)
        except (StopIteration, SystemExit) as error:
            # No future takes the one, so that its caller would wait for ever; the other would end
            # the process, where in a thread it ends the thread.
            raise RuntimeError(f"the handler raised {type(error).__name__}") from error

    async def close(self) -> None:
        """Let the threads end after what they run; calls that wait for one are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Daemons(Executor):
    """Threads that nobody waits for, started when first needed.

    Not a ``ThreadPoolExecutor``: Python waits for its threads before it ends, so a call that never
    returns, as a request without a timeout may, would keep a process that has drained.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._most = threads
        self._name = name
        self._started = 0
        self._idle = threading.Semaphore(0)
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = (
            queue.SimpleQueue()
        )

    def submit(  # the signature is the standard library's
        self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> "Future[_T]":
        """Have a thread call ``fn``.  To be called from one thread only."""
        result: Future[_T] = Future()
        self._calls.put((result, lambda: fn(*args, **kwargs)))
        if not self._idle.acquire(blocking=False) and self._started < self._most:
            name = f"{self._name}_{self._started}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has none to spare: those that there are take it
                if not self._started:
                    result.cancel()
                    raise
            else:
                self._started += 1
        return result

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 -- the standard library's signature
        """Let the threads end after what they run, which is not waited for."""
        del wait
        with suppress(queue.Empty):
            # not while there are some: a thread may take the last one after the look
            while cancel_futures:
                if (waiting := self._calls.get_nowait()) is not None:
                    waiting[0].cancel()
        for _ in range(self._started):
            self._calls.put(None)

    def _work(self) -> None:
        while (taken := self._calls.get()) is not None:
            result, call = taken
            if result.set_running_or_notify_cancel():
                try:
                    result.set_result(call())
                except BaseException as error:  # noqa: BLE001 -- it is the caller's, whatever it is
                    result.set_exception(error)
            del taken, result, call  # or what they refer to stays until the next call
            self._idle.release()
