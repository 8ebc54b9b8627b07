"""Any number of tasks that wait for the next change of something."""

import asyncio


class WaitSet:
    """Wakes everyone who waits, and hands nothing over: each one looks again by itself."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        # not a set: they are woken in the order in which they came
        self._futures: dict[asyncio.Future[None], None] = {}

    async def wait(self) -> None:
        """Wait for the next :meth:`wake_all`.

        Cancel safety: nothing to lose.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures[future] = None
        try:
            await future
        finally:
            self._futures.pop(future, None)

    def wake_all(self) -> None:
        """Wake everyone who waits now."""
        futures, self._futures = self._futures, {}
        for future in futures:
            _wake(future)

    def wake_all_from_anywhere(self) -> None:
        """Wake everyone who waits now; for ``__del__``, which any thread may run."""
        for future in tuple(self._futures):
            loop = future.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(_wake, future)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():  # cancelled in this very turn
        future.set_result(None)
