from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from service.errors import ConfigurationError
from service.events import Event
from service.handlers.spec import handler, make_spec, registered


@dataclass
class _Order:
    id: str


class _Options(BaseModel):
    a: int = 1


def test_a_declared_function_stays_what_it_was_and_is_registered() -> None:
    @handler("spec.plain", concurrency=64, timeout_s=2, ordering="none", tombstones=True)
    async def plain(event: Event) -> None:
        del event

    spec = registered()["spec.plain"]

    assert spec.target is plain
    assert spec.use.endswith("plain")
    assert (spec.concurrency, spec.timeout_s, spec.ordering) == (64, 2, "none")
    assert spec.is_async
    assert spec.tombstones


def test_what_is_not_declared_is_left_to_the_configuration() -> None:
    spec = make_spec(lambda event: event, name="x")

    assert (spec.concurrency, spec.timeout_s, spec.ordering, spec.batch) == (None,) * 4
    assert not spec.is_async


def test_the_annotation_of_the_parameter_is_the_input_type() -> None:
    def typed(order: _Order, event: Event, options: _Options) -> None:
        del order, event, options

    spec = make_spec(typed, name="x", options=_Options)

    assert spec.input_type is _Order
    assert spec.parameters == ("input", "event", "options")


def test_a_class_is_what_its_call_is() -> None:
    class Handler:
        Options = _Options

        async def __call__(self, order: _Order) -> None: ...

    spec = make_spec(Handler, name="x")

    assert spec.is_async
    assert spec.input_type is _Order
    assert spec.options is _Options


def test_a_batch_has_room_for_two_batches_in_flight() -> None:
    async def many(orders: list[_Order]) -> list[None]:
        return [None for _ in orders]

    spec = make_spec(many, name="x", batch=500)

    assert spec.input_type is _Order
    assert spec.concurrency == 1000


def _sync(event: Event) -> None: ...


def _sync_many(events: list[Event]) -> None: ...


async def _async(event: Event) -> None: ...


def _typed(order: _Order) -> None: ...


def _no_parameter() -> None: ...


def _strange(event: Event, more: int) -> None: ...


def _unresolved(event: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821 -- the point


def _with_options(event: Event, options: Any) -> None: ...


async def _many(events: list[Event], options: Any) -> None: ...


@pytest.mark.parametrize(
    ("target", "arguments", "problem"),
    [
        (_async, {"batch": 0}, "batch is 0"),
        (_sync_many, {"batch": 2}, "batch needs an async function"),
        (_sync, {"concurrency": 0}, "concurrency is 0"),
        (_sync, {"timeout_s": 0}, "timeout_s is 0"),
        (_sync, {"linger_s": -1}, "does not run backwards"),
        (_async, {"run_in": "thread"}, "for sync functions"),
        (_sync, {"run_in": "threads"}, "run_in is 'threads', not one of loop, thread, process"),
        (_sync, {"ordering": "keys"}, "ordering is 'keys', not one of key, partition, none"),
        (_sync, {"state": "last"}, r"one text and no list of names: write state=\(\"last\",\)"),
        (_sync, {"state": ("last seen",)}, "state 'last seen' should be letters"),
        (_typed, {"input_type": _Order}, "given twice"),
        (_no_parameter, {}, "must take the event"),
        (_strange, {}, "parameter 'more'"),
        (_unresolved, {}, "cannot be resolved"),
        (_with_options, {}, "declares no model"),
        (_many, {"batch": 2, "options": _Options}, "takes the list only"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_declaration_that_contradicts_itself_is_refused(
    target: Callable[..., Any], arguments: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        make_spec(target, name="x", **arguments)


def test_two_handlers_cannot_have_one_name() -> None:
    handler("spec.taken")(_sync)

    handler("spec.taken")(_sync)
    with pytest.raises(ConfigurationError, match=r"'spec\.taken' is declared by"):
        handler("spec.taken")(_async)


def test_a_declaration_without_its_brackets_is_told_so() -> None:
    undecided: Any = handler

    with pytest.raises(ConfigurationError, match=r'above _sync \(.*test_spec.py:\d+\): .*"_sync"'):
        undecided(_sync)


@pytest.mark.parametrize("name", ["", "a:b", 3])
def test_a_name_by_which_nothing_could_be_found_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="its name should be text without a colon"):
        handler(name)
