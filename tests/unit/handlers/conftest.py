"""A handler opened in memory, and events for it, without a pipeline around them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from service.events import Event, RecordBatch, Result, SourceRecord
from service.handlers import Clients, HandlerContext, load_handler
from service.handlers.bound import BoundHandler
from service.handlers.registry import SHIPPED
from service.handlers.results import to_results
from service.handlers.state import MemoryStateStore


class Opened:
    """A handler with a memory of its own, called with data and giving plain values."""

    def __init__(self, bound: BoundHandler, state: MemoryStateStore) -> None:
        self.bound = bound
        self.state = state
        self._offset = 0

    def event(self, data: Any, *, offset: int | None = None, timestamp: int = 0) -> Event:
        if offset is None:
            offset, self._offset = self._offset, self._offset + 1
        record = SourceRecord(b"", key=b"k", offset=offset, timestamp=timestamp)
        batch = RecordBatch("input", 0, [record], next_offset=offset + 1)
        return Event(data, key=b"k", timestamp=timestamp, batch=batch)

    def results(self, data: Any, **place: Any) -> Sequence[Result]:
        return to_results(self.bound.call(self.event(data, **place)))

    def values(self, data: Any, **place: Any) -> list[Any]:
        return [result.value for result in self.results(data, **place)]

    def tick(self) -> list[Any]:
        assert self.bound.tick is not None
        now_s = asyncio.get_running_loop().time()
        return [result.value for result in to_results(self.bound.tick(now_s))]


OpenHandler = Callable[..., Awaitable[Opened]]


@pytest.fixture
async def open_handler() -> AsyncIterator[OpenHandler]:
    clients = Clients()
    opened: list[BoundHandler] = []

    async def emit(results: Sequence[Result]) -> None:
        raise AssertionError(results)

    async def open_(use: str, **options: Any) -> Opened:
        bound = load_handler(use).bind(options)
        state = MemoryStateStore(asyncio.get_running_loop().time)
        await bound.open(
            HandlerContext(
                pipeline="p",
                handler=use,
                options=bound.options,
                clients=clients,
                state=state,
                emit=emit,
            )
        )
        opened.append(bound)
        return Opened(bound, state)

    yield open_
    for bound in opened:
        await bound.close()
    await clients.aclose()


@pytest.fixture(autouse=True, scope="session")
def _imported() -> None:
    """Importing reads files, which a coroutine under test must not do."""
    for name in SHIPPED:
        load_handler(name)
