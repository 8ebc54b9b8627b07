import functools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from service.errors import ConfigurationError, FatalError, OutputTooLargeError, SchemaError
from service.events import Event, RecordBatch, Result, SourceRecord
from service.handlers.bound import BoundHandler
from service.handlers.context import Clients, HandlerContext
from service.handlers.results import to_results
from service.handlers.spec import make_spec
from service.handlers.state import MemoryStateStore


@dataclass
class _Order:
    id: str


class _Options(BaseModel):
    factor: int = 2


def _event(data: Any) -> Event:
    batch = RecordBatch("orders", 3, [SourceRecord(b"", offset=7)], next_offset=8)
    return Event(data, key=b"k", timestamp=5, batch=batch)


async def _emit(results: Sequence[Result]) -> None:
    del results


def _context(options: Any) -> HandlerContext:
    return HandlerContext(
        pipeline="p",
        handler="h",
        options=options,
        clients=Clients(),
        state=MemoryStateStore(lambda: 0.0),
        emit=_emit,
    )


def test_a_function_of_the_event_is_called_directly() -> None:
    def function(event: Event) -> Any:
        return event.data

    bound = make_spec(function, name="x").bind()

    assert bound.call is function
    assert not bound.is_async
    assert (bound.tick, bound.assigned, bound.revoked) == (None, None, None)


async def test_an_async_function_gives_an_awaitable() -> None:
    async def function(event: Event) -> Any:
        return event.data

    bound = make_spec(function, name="x").bind()

    assert bound.is_async
    assert await bound.call(_event(1)) == 1


def test_a_typed_handler_gets_the_value_the_event_and_the_options() -> None:
    def function(order: _Order, event: Event, options: _Options) -> Any:
        return order.id * options.factor, event.offset, event.data

    bound = make_spec(function, name="x", options=_Options).bind({"factor": 3})

    assert bound.call(_event({"id": "a"})) == ("aaa", 7, {"id": "a"})


def test_an_input_type_replaces_the_data_of_a_copy_of_the_event() -> None:
    seen: list[Event] = []
    bound = make_spec(seen.append, name="x", input_type=_Order).bind()
    event = _event({"id": "a"})

    bound.call(event)

    assert seen[0].data == _Order("a")
    assert (seen[0].key, seen[0].timestamp, seen[0].offset) == (b"k", 5, 7)
    assert event.data == {"id": "a"}


def test_input_that_does_not_fit_never_reaches_the_handler() -> None:
    def function(order: _Order) -> None:
        raise AssertionError(order)

    with pytest.raises(SchemaError, match="id"):
        make_spec(function, name="x").bind().call(_event({"id": 1}))


def test_wrong_options_are_reported_under_the_name_of_the_handler() -> None:
    spec = make_spec(lambda event: event, name="x", options=_Options)

    with pytest.raises(ConfigurationError, match=r"^handlers\.mine\.options\.factor: "):
        spec.bind({"factor": "many"}, name="mine")


async def test_a_class_lives_as_long_as_its_pipeline() -> None:
    class Handler:
        Options = _Options

        def __init__(self) -> None:
            self.story: list[Any] = []

        async def open(self, context: HandlerContext) -> None:
            self.story.append(("open", context.options.factor))

        async def close(self) -> None:
            self.story.append("close")

        def __call__(self, _event: Event) -> Any:
            return self

        def tick(self, now_s: float) -> Any:
            return now_s

        async def assigned(self, topic: str, partition: int) -> None:
            self.story.append(("assigned", topic, partition))

        async def revoked(self, topic: str, partition: int) -> None:
            self.story.append(("revoked", topic, partition))

    bound = make_spec(Handler, name="x").bind({})
    assert bound.assigned is not None
    assert bound.revoked is not None
    assert bound.tick is not None

    await bound.open(_context(bound.options))
    await bound.assigned("t", 0)
    handler = bound.call(_event(None))
    await bound.revoked("t", 0)
    await bound.close()

    assert bound.tick(4.0) == 4.0
    assert handler.story == [("open", 2), ("assigned", "t", 0), ("revoked", "t", 0), "close"]


def test_a_class_may_take_its_options_when_it_is_made() -> None:
    class Handler:
        Options = _Options

        def __init__(self, options: _Options) -> None:
            self.factor = options.factor

        def __call__(self, _event: Event) -> int:
            return self.factor

    assert make_spec(Handler, name="x").bind({"factor": 9}).call(_event(None)) == 9


def test_a_constructor_of_its_own_arguments_is_not_given_the_options_that_it_has_none_of() -> None:
    @dataclass
    class Handler:
        threshold: int = 5

        def __call__(self, _event: Event) -> int:
            return self.threshold

    assert make_spec(Handler, name="x").bind().call(_event(None)) == 5


@pytest.mark.parametrize("has_more", [False, True], ids=["by name", "among others"])
def test_options_are_given_by_their_name(*, has_more: bool) -> None:
    class ByName:
        Options = _Options

        def __init__(self, *, options: _Options) -> None:
            self.factor = options.factor

        def __call__(self, _event: Event) -> int:
            return self.factor

    class Among(ByName):
        def __init__(self, factor: int = 1, *, options: _Options) -> None:
            self.factor = options.factor * factor

    target = Among if has_more else ByName
    assert make_spec(target, name="x").bind({"factor": 9}).call(_event(None)) == 9


def test_a_constructor_that_takes_any_names_is_not_given_the_options_by_position() -> None:
    class Handler:
        Options = _Options

        def __init__(self, **settings: Any) -> None:
            self.settings = settings

        def __call__(self, _event: Event) -> Any:
            return self.settings

    assert make_spec(Handler, name="x").bind().call(_event(None)) == {}


def test_a_constructor_that_fails_is_a_configuration_error_with_its_place() -> None:
    class Handler:
        def __init__(self) -> None:
            raise OSError("no model.bin")

        def __call__(self, _event: Event) -> None: ...

    with pytest.raises(ConfigurationError) as caught:
        make_spec(Handler, name="x").bind(name="mine")

    (problem,) = caught.value.problems
    assert problem.startswith("handlers.mine: its constructor failed: OSError: no model.bin (")
    assert f"{__file__}:" in problem


def test_an_error_of_ours_in_a_constructor_stays_what_it_is() -> None:
    class Handler:
        def __init__(self) -> None:
            raise FatalError("on purpose")

        def __call__(self, _event: Event) -> None: ...

    with pytest.raises(FatalError, match="on purpose"):
        make_spec(Handler, name="x").bind()


async def test_a_plain_function_may_be_told_of_partitions() -> None:
    class Handler:
        def __init__(self) -> None:
            self.story: list[Any] = []

        def __call__(self, _event: Event) -> Any:
            return self.story

        def assigned(self, topic: str, partition: int) -> None:
            self.story.append(("assigned", topic, partition))

        def revoked(self, topic: str, partition: int) -> None:
            self.story.append(("revoked", topic, partition))

    bound = make_spec(Handler, name="x").bind()
    assert bound.assigned is not None
    assert bound.revoked is not None

    await bound.assigned("t", 0)
    await bound.revoked("t", 0)

    assert bound.call(_event(None)) == [("assigned", "t", 0), ("revoked", "t", 0)]


def _bound(function: Any) -> BoundHandler:
    return make_spec(function, name="x").bind()


async def test_a_generator_gives_what_it_yields() -> None:
    def generator(event: Event) -> Iterator[int]:
        yield from range(event.data)

    async def async_generator(event: Event) -> AsyncIterator[int]:
        for number in range(event.data):
            yield number

    assert _bound(generator).call(_event(3)) == [0, 1, 2]
    assert await _bound(async_generator).call(_event(3)) == [0, 1, 2]


def _counted(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    return call


async def test_what_a_plain_decorator_has_around_it_is_waited_for() -> None:
    @_counted
    async def function(event: Event) -> Any:
        return event.data

    @_counted
    async def generator(event: Event) -> AsyncIterator[Any]:
        yield event.data

    class Handler:
        @_counted
        async def __call__(self, order: _Order) -> Any:
            return order.id

    @functools.wraps(function)
    def finished(event: Event) -> Any:
        return event.data

    for target in (function, generator, Handler, finished):
        assert make_spec(target, name="x").is_async
    assert await _bound(function).call(_event(1)) == 1
    assert await _bound(generator).call(_event(1)) == [1]
    assert await _bound(Handler).call(_event({"id": "a"})) == "a"
    assert await _bound(finished).call(_event(1)) == 1


async def test_a_partial_is_what_it_is_a_part_of() -> None:
    async def generator(factor: int, event: Event) -> AsyncIterator[int]:
        yield factor * event.data

    async def function(factor: int, event: Event) -> int:
        return factor * int(event.data)

    assert await _bound(functools.partial(generator, 2)).call(_event(3)) == [6]
    assert await _bound(functools.partial(function, 2)).call(_event(3)) == 6


async def test_a_generator_that_never_ends_is_closed_and_too_large() -> None:
    closed: list[str] = []

    def generator(_event: Event) -> Iterator[int]:
        while True:
            yield 1

    async def async_generator(_event: Event) -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append("closed")

    with pytest.raises(OutputTooLargeError):
        to_results(_bound(generator).call(_event(None)))
    with pytest.raises(OutputTooLargeError):
        to_results(await _bound(async_generator).call(_event(None)))
    assert closed == ["closed"]


async def test_a_batch_handler_is_called_with_lists_of_typed_input() -> None:
    calls: list[list[str]] = []

    async def many(orders: list[_Order]) -> list[str]:
        calls.append([order.id for order in orders])
        return [order.id.upper() for order in orders]

    bound = make_spec(many, name="x", batch=1).bind()

    assert bound.is_async
    assert await bound.call(_event({"id": "a"})) == "A"
    assert calls == [["a"]]
