"""A hand-fed channel and a hand-driven call, for tests that decide what happens when."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Feed(Generic[T]):
    """The receiving end of a channel whose sender is the test."""

    def __init__(self, *items: T, ended: bool = False) -> None:
        self.items: deque[T] = deque(items)
        self.ended = ended
        self.dropped = False
        self.largest_ask = 0
        self._news = asyncio.Event()

    def push(self, *items: T) -> None:
        self.items.extend(items)
        self._news.set()

    def close(self) -> None:
        self.ended = True
        self._news.set()

    async def recv_many(self, buffer: list[T], limit: int) -> int:
        self.largest_ask = max(self.largest_ask, limit)
        while not self.items:
            if self.ended:
                return 0
            self._news.clear()
            await self._news.wait()
        count = min(limit, len(self.items))
        buffer.extend(self.items.popleft() for _ in range(count))
        return count

    async def aclose(self) -> None:
        self.dropped = True
        self.items.clear()
        self.close()


class Calls:
    """Makes calls that run until the test lets them finish, and remembers what became of them."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.finished: list[str] = []
        self._gates: dict[str, asyncio.Future[None]] = {}

    @property
    def running(self) -> int:
        return len(self.started) - len(self.cancelled) - len(self.finished)

    def __call__(self, name: str) -> "Call":
        return Call(self, name)

    def finish(self, *names: str) -> None:
        for name in names:
            self._gates[name].set_result(None)

    def fail(self, name: str, error: Exception) -> None:
        self._gates[name].set_exception(error)

    async def run(self, name: str) -> str:
        self.started.append(name)
        self._gates[name] = asyncio.get_running_loop().create_future()
        try:
            await self._gates[name]
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        self.finished.append(name)
        return name


class Call:
    """One call of ``Calls``; its lane is the first letter of its name."""

    def __init__(self, calls: Calls, name: str) -> None:
        self.name = name
        self._calls = calls

    async def __call__(self) -> str:
        return await self._calls.run(self.name)


async def settle() -> None:
    """Let every task run until all of them wait."""
    for _ in range(50):
        await asyncio.sleep(0)
