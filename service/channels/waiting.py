"""Any number of tasks that wait for the next change of something."""

import asyncio


class WaitSet:
    """Wakes everyone who waits, and hands nothing over: each one looks again by itself."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: set[asyncio.Future[None]] = set()

    async def wait(self) -> None:
        """Wait for the next :meth:`wake_all`.

        Cancel safety: nothing to lose.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures.add(future)
        try:
            await future
        finally:
            self._futures.discard(future)

    def wake_all(self) -> None:
        """Wake everyone who waits now."""
        futures, self._futures = self._futures, set()
        for future in futures:
            if not future.done():  # cancelled in this very turn
                future.set_result(None)
