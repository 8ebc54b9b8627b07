import asyncio
import functools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from service.errors import ConfigurationError
from service.events import Result
from service.handlers.context import Clients, HandlerContext
from service.handlers.state import MemoryStateStore
from service.handlers.timers import Timer
from service.state.keyed import Partition


async def _emit(results: Sequence[Result]) -> None:
    del results


def _context(clients: Clients) -> HandlerContext:
    return HandlerContext(
        pipeline="logs",
        handler="alerts",
        options=None,
        clients=clients,
        state=MemoryStateStore(lambda: 0.0),
        emit=_emit,
    )


async def test_a_client_is_opened_once_however_many_ask_at_a_time() -> None:
    opened: list[str] = []

    @asynccontextmanager
    async def factory() -> AsyncIterator[object]:
        await asyncio.sleep(1)
        opened.append("open")
        yield object()
        opened.append("close")

    clients = Clients()
    one, two = _context(clients), _context(clients)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(one.client("db", factory))
        second = group.create_task(two.client("db", factory))

    assert first.result() is second.result()
    await clients.aclose()
    assert opened == ["open", "close"]


async def test_clients_close_in_reverse_order_whatever_their_way_of_closing() -> None:
    closed: list[str] = []

    class Asynchronous:
        async def aclose(self) -> None:
            closed.append("asynchronous")

    class Plain:
        def close(self) -> None:
            closed.append("plain")

    async def connect() -> Plain:
        return Plain()

    clients = Clients()
    context = _context(clients)
    await context.client("a", Asynchronous)
    await context.client("b", connect)
    await context.client("c", dict)

    await clients.aclose()
    await clients.aclose()

    assert closed == ["plain", "asynchronous"]


async def test_a_failed_open_leaves_nothing_behind_and_may_be_tried_again() -> None:
    attempts: list[int] = []

    async def connect() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionError
        return "connected"

    clients = Clients()
    with suppress(ConnectionError):
        await clients.get("x", connect)

    assert await clients.get("x", connect) == "connected"


async def test_state_is_shared_by_name_within_a_handler() -> None:
    context = _context(Clients())
    context.state().put(Partition("t", 0), "k", 1)

    assert context.state().get(Partition("t", 0), "k") == 1


async def test_a_timer_that_is_async_is_refused_before_any_is_set() -> None:
    async def go_off(timer: Timer) -> None: ...

    for timers in (_context(Clients()).timers, _context(Clients()).event_timers):
        with pytest.raises(ConfigurationError, match="go_off is async"):
            timers(go_off)


async def test_a_timer_that_does_not_take_what_it_is_called_with_is_refused_at_once() -> None:
    def nothing() -> None: ...

    def two(timer: Timer, key: str) -> None: ...

    def named(*, timer: Timer) -> None: ...

    for go_off in (nothing, two, named):
        for timers in (_context(Clients()).timers, _context(Clients()).event_timers):
            with pytest.raises(ConfigurationError, match="go_off is called with the timer only"):
                timers(go_off)  # type: ignore[arg-type]


async def test_a_timer_is_called_as_its_outermost_decorator_says() -> None:
    def keyed(timer: Timer, key: str) -> None: ...

    @functools.wraps(keyed)
    def go_off(timer: Timer) -> None:
        keyed(timer, timer.key)

    context = _context(Clients())
    made = [context.timers(go_off, name="late"), context.event_timers(go_off, name="left")]

    assert context.made_timers == made
