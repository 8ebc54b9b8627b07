from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Optional, TypedDict, TypeVar

import msgspec
import pytest
from pydantic import BaseModel

from service.errors import ConfigurationError
from service.events import Event
from service.handlers.signature import read_signature
from service.handlers.spec import make_spec

if TYPE_CHECKING:
    from decimal import Decimal

    import service

T = TypeVar("T")


class Reading(BaseModel):
    celsius: float


@dataclass
class Sum:
    total: int


class Row(TypedDict):
    id: str


class Struct(msgspec.Struct):
    id: str


class Factor(BaseModel):
    factor: int = 1


def _annotated(reading: Annotated[Reading, "checked"]) -> None: ...


def _optional(reading: Optional[Reading]) -> None: ...  # noqa: UP045 -- as many write it


def _either(reading: Reading | Sum) -> None: ...


def _typed_dict(row: Row) -> None: ...


def _struct_or_row(row: Struct | None) -> None: ...


def _mapping(data: Mapping[str, Any]) -> None: ...


def _dict(data: dict) -> None: ...  # type: ignore[type-arg]  # as beginners write it


@pytest.mark.parametrize(
    ("target", "input_type"),
    [
        (_annotated, Annotated[Reading, "checked"]),
        (_optional, Optional[Reading]),  # noqa: UP045 -- as many write it
        (_either, Reading | Sum),
        (_typed_dict, Row),
        (_struct_or_row, Struct | None),
        (_mapping, Mapping[str, Any]),
        (_dict, dict),
    ],
    ids=["annotated", "optional", "union", "TypedDict", "struct or none", "mapping", "dict"],
)
def test_a_data_type_is_found_however_it_is_written(
    target: Callable[..., Any], input_type: Any
) -> None:
    signature = read_signature(target, batched=False, typed=False)

    assert signature.input_type == input_type
    assert signature.parameters == ("input",)


def _plain(event) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001 -- the point


def _any(event: Any) -> None: ...


def _object(event: object) -> None: ...


def _type_variable(event: T) -> T:
    return event


def _maybe_event(event: Event | None) -> None: ...


def _type_checkers(event: service.Event) -> Decimal | None: ...


@pytest.mark.parametrize(
    "target", [_plain, _any, _object, _type_variable, _maybe_event, _type_checkers]
)
def test_what_takes_an_event_is_called_with_it(target: Callable[..., Any]) -> None:
    assert read_signature(target, batched=False, typed=False).parameters == ("event",)


def _sequence(readings: Sequence[Reading]) -> None: ...


def test_a_batch_may_be_annotated_as_any_kind_of_sequence() -> None:
    assert read_signature(_sequence, batched=True, typed=False).input_type is Reading


def test_a_static_or_class_method_may_be_the_call() -> None:
    class Static:
        @staticmethod
        def __call__(event: Event) -> None: ...

    class Class:
        @classmethod
        def __call__(cls, event: Event) -> None: ...

    assert read_signature(Static, batched=False, typed=False).parameters == ("event",)
    assert read_signature(Class, batched=False, typed=False).parameters == ("event",)


def test_an_annotation_that_is_not_there_does_not_matter_where_input_type_says_it() -> None:
    def typed(event: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821 -- the point

    assert make_spec(typed, name="x", input_type=Reading).input_type is Reading


def _text(line: str) -> None: ...


def _mixed(row: Reading | Struct) -> None: ...


def _list(events: list[Event]) -> None: ...


def _keyword(event: Event, *, options: Factor) -> None: ...


def _required_keyword(event: Event, *, number: int) -> None: ...


def _model_second(event: Event, reading: Reading) -> None: ...


def _everything(*events: Event) -> None: ...


class _Method:
    def handle(self, event: Event) -> None: ...


class _NoCall: ...


class _Constructor:
    def __init__(self, url: str) -> None: ...

    def __call__(self, event: Event) -> None: ...


class _TwoArguments(_Constructor):
    Options = Factor

    def __init__(self, options: Factor, url: str) -> None: ...


class _Lifecycle:
    def __call__(self, event: Event) -> None: ...

    async def open(self) -> None: ...

    async def tick(self, now_s: float) -> None: ...

    def assigned(self, partition: int) -> None: ...


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (_text, "annotated str, which it would not be called with"),
        (_mixed, "which it would not be called with"),
        (_list, "takes batch= in its declaration"),
        (_keyword, r"'options' is keyword-only.*take out the \*"),
        (_required_keyword, "'number' is keyword-only"),
        (_model_second, "'reading' is neither.*the first parameter is what it handles"),
        (_everything, "it takes any arguments, mostly because a decorator.*functools.wraps"),
        (_Method.handle, "is a method: declare its class"),
        (_NoCall, "the class has no __call__"),
        (_Constructor, "constructor takes url, but is given nothing"),
        (_TwoArguments, "constructor takes options, url, but is given the options only"),
        (_Lifecycle, r"its open is called with \(context\)"),
        (_Lifecycle, "its tick is async"),
        (_Lifecycle, r"its assigned is called with \(topic, partition\)"),
        (max, "it does not say what it takes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_could_not_be_called_is_refused_with_the_mend(
    target: Callable[..., Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        make_spec(target, name="x")


async def _one(event: Event) -> None: ...


def test_a_batch_handler_of_one_event_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"annotate list\[\.\.\.\]"):
        make_spec(_one, name="x", batch=2)


_CALL = _TwoArguments.__call__


@pytest.mark.parametrize(
    ("target", "function"),
    [
        (_text, _text),
        (functools.partial(_text), _text),
        (_TwoArguments, _CALL),
        (_TwoArguments(Factor(), ""), _CALL),
    ],
    ids=["function", "partial", "class", "instance"],
)
def test_a_problem_says_where_the_handler_is_written(
    target: Callable[..., Any], function: Any
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_spec(target, name="x", concurrency=0)

    place = f"handler 'x' ({__file__}:{function.__code__.co_firstlineno}): "
    assert all(problem.startswith(place) for problem in caught.value.problems)


@pytest.mark.parametrize(
    "target",
    [lambda event: event, functools.partial(_plain), _Method().handle],
    ids=["lambda", "partial", "method of an instance"],
)
def test_what_another_process_cannot_import_does_not_run_in_one(
    target: Callable[..., Any],
) -> None:
    with pytest.raises(ConfigurationError, match="another process can import"):
        make_spec(target, name="x", run_in="process")
