"""How the consumer of a concurrent stage sleeps and is woken."""

import asyncio

from service.errors import StreamError


class Bell:
    """Wakes the one task that waits; ringing while nobody waits does nothing.

    Whoever waits looks for news first, without an ``await`` in between, so none is missed.
    """

    __slots__ = ("_sleeper",)

    def __init__(self) -> None:
        self._sleeper: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake the waiting task, if there is one."""
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    async def wait(self, until_s: float | None = None) -> None:
        """Sleep until the bell rings, or until ``until_s`` on the loop's clock.

        Cancel safety: nothing is lost.

        Raises:
            StreamError: If another task waits already.
        """
        if self._sleeper is not None:
            raise StreamError("another task is already waiting for this stream")
        loop = asyncio.get_running_loop()
        self._sleeper = loop.create_future()
        alarm = None if until_s is None else loop.call_at(until_s, self.ring)
        try:
            await self._sleeper
        finally:
            self._sleeper = None
            if alarm is not None:
                alarm.cancel()
