"""A handler with its options: the object that the dispatcher opens, calls and closes.

``call`` is the shortest way to the user's code that the declaration allows.  For a function of
the event it is the function itself; only what was asked for (typed input, options, batches,
generators) adds a layer.
"""

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from service.delivery.failures import described
from service.errors import ConfigurationError, ServiceError
from service.events import Event, EventBatch
from service.handlers.batching import Batcher
from service.handlers.context import HandlerContext
from service.handlers.inputs import converter
from service.handlers.options import validate_options
from service.handlers.processes import ProcessCalls
from service.handlers.results import MAX_RESULTS, MAX_TICK_RESULTS, to_results
from service.handlers.signature import hides_async, made_with
from service.handlers.spec import HandlerSpec
from service.handlers.threads import ThreadCalls
from service.handlers.timers import FIRED_PER_TICK, KeyTimers

HandleMany = Callable[[EventBatch, Sequence[int]], Sequence[tuple[int, Any]]]
PartitionCallback = Callable[[str, int], Awaitable[None]]


class BoundHandler:
    """One handler of one pipeline.

    Attributes:
        spec: Its declaration.
        name: Its name in the configuration.
        options: The validated options, or ``None``.
        batcher: What gathers the events of a handler that takes many; or ``None``.
        call: Takes an event; returns what the handler returned, or an awaitable of it.
        is_async: Whether ``call`` returns an awaitable.
        handle_many: ``handle_many(events, wanted)`` is the same as calling it for each of the
            events at the indexes ``wanted`` of one batch, in order, and returns the indexes that
            have results, each with what a call would have returned; or ``None``.  If it raises,
            what it changed in the state is undone and the events are handled one by one.
        tick: ``tick(now_s)`` gives results that are due without an event (see ``docs``); or
            ``None``.
        assigned: Awaited before the first event of a partition; or ``None``.
        revoked: Awaited after the last event of a partition that goes to another member, not of
            one that comes straight back; or ``None``.

    Raises:
        ConfigurationError: If the options do not fit.
    """

    __slots__ = (
        "_elsewhere",
        "_instance",
        "assigned",
        "batcher",
        "call",
        "handle_many",
        "is_async",
        "name",
        "options",
        "revoked",
        "spec",
        "tick",
    )

    def __init__(
        self, spec: HandlerSpec, options: Mapping[str, Any], *, name: str, concurrency: int
    ) -> None:
        self.spec = spec
        self.name = name
        self.options = validate_options(spec.options, options, f"handlers.{name}.options")
        self.is_async = spec.is_async
        self.call: Callable[[Event], Any]
        self.batcher: Batcher | None = None
        self._instance: Any = None
        self._elsewhere: ThreadCalls | ProcessCalls | None = None
        if spec.run_in == "process":
            self._elsewhere = ProcessCalls(spec.use, options, processes=concurrency, name=name)
            self.call = self._elsewhere.call
        else:
            self._instance = _instantiate(spec.target, self.options, name)
            function = _function(spec, self._instance)
            if spec.batch is None:
                self.call = _callable(spec, function, self.options)
            else:
                self.batcher = Batcher(
                    function,
                    size=spec.batch,
                    linger_s=spec.linger_s,
                    limit=concurrency,
                    prepare=_prepare(spec),
                )
                self.call = self.batcher.call
        if spec.run_in == "thread":
            self._elsewhere = ThreadCalls(self.call, threads=concurrency, name=name)
            self.call = self._elsewhere.call
        plain = self._elsewhere is None and spec.batch is None and spec.input_type is None
        self.handle_many: HandleMany | None = (
            getattr(self._instance, "handle_many", None) if plain and not self.is_async else None
        )
        self.tick: Callable[[float], Any] | None = getattr(self._instance, "tick", None)
        self.assigned = _awaited(getattr(self._instance, "assigned", None))
        self.revoked = _awaited(getattr(self._instance, "revoked", None))

    async def open(self, context: HandlerContext) -> None:
        """Let the handler open its clients and state; once, before the first call."""
        await self._lifecycle("open", context)
        if context.made_timers:
            self._run_timers(context.made_timers)

    def _run_timers(self, timers: Sequence[KeyTimers]) -> None:
        """Tell ``timers`` whatever the handler is told."""
        own_tick, own_assigned, own_revoked = self.tick, self.assigned, self.revoked

        def tick(now_s: float) -> list[Any]:
            results: list[Any] = []
            if own_tick is not None:  # first: should it raise, no timer has gone off in vain
                results.extend(to_results(own_tick(now_s), MAX_TICK_RESULTS))
            for each in timers:
                # a tick with more than it may say would say nothing, and these would be gone
                room = MAX_TICK_RESULTS - MAX_RESULTS - len(results)
                results.extend(each.tick(now_s, min(FIRED_PER_TICK, room)))
            return results

        async def assigned(topic: str, partition: int) -> None:
            for each in timers:
                each.assigned(topic, partition)
            if own_assigned is not None:
                await own_assigned(topic, partition)

        async def revoked(topic: str, partition: int) -> None:
            for each in timers:
                each.revoked(topic, partition)
            if own_revoked is not None:
                await own_revoked(topic, partition)

        self.tick, self.assigned, self.revoked = tick, assigned, revoked

    async def close(self) -> None:
        """Let the handler close what it opened itself; once, after the last call."""
        try:
            await self._lifecycle("close")
        finally:
            if self._elsewhere is not None:
                await self._elsewhere.close()

    async def _lifecycle(self, method: str, *arguments: Any) -> None:
        call = getattr(self._instance, method, None)
        if call is not None:
            returned = call(*arguments)
            if inspect.isawaitable(returned):
                await returned


def _awaited(callback: Callable[[str, int], Any] | None) -> PartitionCallback | None:
    """``callback`` as one that can be awaited, also where it is a plain function."""
    if callback is None:
        return None
    tell = callback

    async def call(topic: str, partition: int) -> None:
        told = tell(topic, partition)
        if inspect.isawaitable(told):
            await told

    return call


def _instantiate(target: Callable[..., Any], options: Any, name: str) -> Any:
    """A class's instance, made with the options if it has any and its constructor takes them."""
    if not isinstance(target, type):
        return target
    try:
        return made_with(target, options)
    except ServiceError:
        raise
    except Exception as error:
        raise ConfigurationError(
            [f"handlers.{name}: its constructor failed: {described(error)}"]
        ) from error


def _function(spec: HandlerSpec, instance: Any) -> Callable[..., Any]:
    called = inspect.isfunction(instance) or isinstance(instance, functools.partial)
    function: Callable[..., Any] = instance if called else instance.__call__
    if inspect.isasyncgenfunction(function):
        return _collected_async(function)
    if inspect.isgeneratorfunction(function):
        return _collected(function)
    if spec.is_async and spec.run_in == "loop" and hides_async(function):
        return _waited_for(function)
    return function


def _prepare(spec: HandlerSpec) -> Callable[[Event], Any] | None:
    """What makes of an event what the function of it takes; ``None`` if that is the event."""
    if spec.input_type is None:
        return None
    convert = converter(spec.input_type)
    if spec.parameters[0] == "event":
        return lambda event: _replaced(event, convert(event.data))
    return lambda event: convert(event.data)


def _callable(
    spec: HandlerSpec, function: Callable[..., Any], options: Any
) -> Callable[[Event], Any]:
    prepare = _prepare(spec)
    first, *others = spec.parameters
    if not others:
        return function if prepare is None else lambda event: function(prepare(event))

    def call(event: Event) -> Any:
        given = event if prepare is None else prepare(event)
        # An event whose input is asked for separately is passed on as it came.
        values = {"event": given if first == "event" else event, "options": options}
        return function(given, *(values[parameter] for parameter in others))

    return call


def _replaced(event: Event, data: Any) -> Event:
    """The event with other data; the original is shared with the other handlers."""
    return Event(
        data,
        key=event.key,
        timestamp=event.timestamp,
        type=event.type,
        headers=event.headers,
        batch=event.batch,
        index=event.index,
        attempts=event.attempts,
    )


def _collected(function: Callable[..., Iterator[Any]]) -> Callable[..., list[Any]]:
    @functools.wraps(function)
    def call(*arguments: Any) -> list[Any]:
        return list(islice(function(*arguments), MAX_RESULTS + 1))  # one more is "too many"

    return call


def _collected_async(
    function: Callable[..., AsyncGenerator[Any]],
) -> Callable[..., Awaitable[list[Any]]]:
    @functools.wraps(function)
    async def call(*arguments: Any) -> list[Any]:
        return await _read(function(*arguments))

    return call


def _waited_for(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """A plain function around an async one as one that is async itself."""

    @functools.wraps(function)
    async def call(*arguments: Any) -> Any:
        returned = function(*arguments)
        if inspect.isasyncgen(returned):
            return await _read(returned)
        return await returned if inspect.isawaitable(returned) else returned

    return call


async def _read(iterator: AsyncGenerator[Any, Any]) -> list[Any]:
    results: list[Any] = []
    try:
        async for result in iterator:
            results.append(result)
            if len(results) > MAX_RESULTS:
                break
    finally:
        await iterator.aclose()
    return results
