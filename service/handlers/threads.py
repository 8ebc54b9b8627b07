"""Sync handlers in threads: for those that block, or burn CPU outside the interpreter's lock.

The call becomes awaitable, so the dispatcher's lanes keep the order of keys as they do for any
async handler.  A call that is cancelled goes on in its thread (nothing can stop it) and keeps
that thread until it ends, so the pool is bounded by what it really runs.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from service.events import Event


class ThreadCalls:
    """Calls a sync function in a pool of threads of its own.

    Args:
        function: Takes an event; must be safe to call from several threads.
        threads: Most threads, and so most calls at a time.
        name: For the names of the threads.
    """

    def __init__(self, function: Callable[[Event], Any], *, threads: int, name: str) -> None:
        self._function = function
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"headrace-{name}")

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
