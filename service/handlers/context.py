"""What a handler gets when its pipeline starts: its options, shared clients, state, a way to emit.

Knows no handler and no pipeline; the runtime fills it in.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeAlias

from service.clock import wall_clock_ms
from service.errors import ConfigurationError
from service.events import Result
from service.handlers.timers import EventTimers, GoOff, KeyTimers, Unread
from service.state.keyed import Codec, KeyedState, StateStore

Emit: TypeAlias = Callable[[Sequence[Result]], Awaitable[None]]
"""Publishes results that belong to no event; returns when they are durable."""


class Clients:
    """Clients shared by the handlers of a process: opened once, closed on drain.

    A client is anything that a factory makes: an async context manager (entered here), or an
    object with ``aclose`` or ``close``.
    """

    def __init__(self) -> None:
        self._open: dict[str, Any] = {}
        self._lock = asyncio.Lock()
        self._closing = AsyncExitStack()

    async def get(self, key: str, factory: Callable[[], Any]) -> Any:
        """The client called ``key``, made by ``factory`` at the first call.

        Cancel safety: a cancelled first call has opened nothing.
        """
        async with self._lock:
            if key not in self._open:
                self._open[key] = await self._enter(factory())
            return self._open[key]

    async def aclose(self) -> None:
        """Close every client, the last opened first; a second call does nothing."""
        self._open.clear()
        await self._closing.aclose()

    async def _enter(self, made: Any) -> Any:
        if inspect.isawaitable(made):
            made = await made
        if isinstance(made, AbstractAsyncContextManager):
            return await self._closing.enter_async_context(made)
        close = getattr(made, "aclose", None) or getattr(made, "close", None)
        if close is not None:
            self._closing.push_async_callback(_call, close)
        return made


class HandlerContext:
    """What a handler's ``open`` is called with.

    Attributes:
        pipeline: Name of the pipeline.
        handler: Name of the handler in the configuration.
        options: The validated options.
        emit: Publishes results that belong to no event; returns when they are durable.
        unread: Whether an input partition (topic, number) has records that are not durable here:
            stored, fetched or in flight.  While it has, silence says nothing about its time.
        made_timers: The timers that were asked for; for the runtime, which lets them go off.
        asked: Names of the states that were asked for.
    """

    def __init__(
        self,
        *,
        pipeline: str,
        handler: str,
        options: Any,
        clients: Clients,
        state: StateStore,
        emit: Emit,
    ) -> None:
        self.pipeline = pipeline
        self.handler = handler
        self.options = options
        self.emit = emit
        self.unread: Unread = _nothing_unread
        self._clients = clients
        self._state = state
        self.made_timers: list[KeyTimers] = []
        self.asked: set[str] = set()

    async def client(self, key: str, factory: Callable[[], Any]) -> Any:
        """A client shared with every handler that asks for the same ``key``.

        Args:
            key: Names what it is connected to, such as ``"http"`` or a database URL.
            factory: Makes it at the first call; see :class:`Clients`.
        """
        return await self._clients.get(key, factory)

    def state(
        self,
        name: str = "state",
        *,
        ttl_s: float | None = None,
        max_keys: int = 1_000_000,
        codec: Codec | None = None,
    ) -> KeyedState:
        """Keyed state of this handler; see :meth:`service.state.keyed.StateStore.keyed`.

        It is durable if the handler declares it (``state=`` of ``@handler``).
        """
        self.asked.add(name)
        return self._state.keyed(name, ttl_s=ttl_s, max_keys=max_keys, codec=codec)

    def timers(
        self, go_off: GoOff, name: str = "timers", *, max_keys: int = 1_000_000
    ) -> KeyTimers:
        """Timers by key in processing time; to be asked for in ``open``.

        Args:
            go_off: Called for each timer that is due; returns what a handler may return.
            name: Of the state that keeps them, durable if the handler declares it.  Each set of
                timers needs a state of its own.
            max_keys: Most timers of a partition; beyond it those that were set longest ago are
                forgotten, and counted as evicted.

        Raises:
            ConfigurationError: If that state has been asked for already, or ``go_off`` is async
                or does not take a timer.
        """
        wall_ms = wall_clock_ms() - int(asyncio.get_running_loop().time() * 1000)
        timers = KeyTimers(self._kept(name, max_keys, go_off), go_off, wall_ms=wall_ms)
        self.made_timers.append(timers)
        return timers

    def event_timers(
        self,
        go_off: GoOff,
        name: str = "timers",
        *,
        lateness_s: float = 5.0,
        idle_s: float = 30.0,
        max_keys: int = 1_000_000,
    ) -> EventTimers:
        """Timers by key in event time; to be asked for in ``open``.

        Args:
            go_off: As for :meth:`timers`.
            name: As for :meth:`timers`.
            lateness_s: How much older than the newest an event may be.
            idle_s: Silence after which time goes on without events; a partition that has unread
                records is not silent.
            max_keys: As for :meth:`timers`; the time of the partition takes one of them.

        Raises:
            ConfigurationError: As for :meth:`timers`.
        """
        clock = asyncio.get_running_loop().time
        timers = EventTimers(
            self._kept(name, max_keys, go_off),
            go_off,
            lateness_s=lateness_s,
            idle_s=idle_s,
            clock=clock,
            unread=self.unread,
        )
        self.made_timers.append(timers)
        return timers

    def _kept(self, name: str, max_keys: int, go_off: GoOff) -> KeyedState:
        """The state of timers, which would take entries of others in it for theirs."""
        if inspect.iscoroutinefunction(go_off):  # each timer would fail when it is due, and be gone
            raise ConfigurationError(
                [f"the timers {name!r}: go_off is async, but what it returns is not waited for"]
            )
        if not _takes_timer(go_off):
            raise ConfigurationError(
                [f"the timers {name!r}: go_off is called with the timer only, and does not take it"]
            )
        if name in self.asked:
            raise ConfigurationError(
                [f"the state {name!r} is in use already: give these timers another name"]
            )
        return self.state(name, max_keys=max_keys)


def _takes_timer(go_off: GoOff) -> bool:
    try:
        signature = inspect.signature(go_off, follow_wrapped=False)
    except ValueError:  # what is written in C does not always say
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True


def _nothing_unread(topic: str, partition: int) -> bool:
    del topic, partition
    return False


async def _call(close: Callable[[], Any]) -> None:
    closed = close()
    if inspect.isawaitable(closed):
        await closed
