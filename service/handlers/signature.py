"""What a handler's signature says: what it is called with, and which data it takes.

Read once, when the handler is declared.  What would be called with something else than its
signature says is refused here: found later, it would fail for every record.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple, TypeVar, get_args, get_origin

from service.errors import ConfigurationError
from service.events import Event
from service.handlers.inputs import is_data_type, is_union

SECOND_PARAMETERS: Final = ("event", "options")
"""What may follow the first parameter, by these names."""

LIFECYCLE: Final[Mapping[str, tuple[str, ...]]] = {
    "open": ("context",),
    "close": (),
    "tick": ("now_s",),
    "assigned": ("topic", "partition"),
    "revoked": ("topic", "partition"),
}
"""What a class is told besides events, if it has methods of these names, and with what."""

_LISTS: Final = (list, Sequence, Collection, Iterable)
_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)
_ONLY: Final = (
    "the first parameter is what it handles, and only these two may follow it, by these names"
)
_HIDDEN: Final = (
    "it takes any arguments, mostly because a decorator hides those of the function below it: "
    "put functools.wraps on what the decorator returns"
)
_MEND: Final = (
    "write Event and read event.data, or a pydantic model, a msgspec struct, a dataclass, a "
    "TypedDict or a dict, to have the data checked"
)


class Signature(NamedTuple):
    """What is read off a handler.

    Attributes:
        function: What is called: of a class or an instance its ``__call__``.
        parameters: What it is called with, in order: ``event``, ``input``, ``options``.
        input_type: The data type that the first parameter names, or ``None``.
    """

    function: Callable[..., Any]
    parameters: tuple[str, ...]
    input_type: Any


def read_signature(target: Callable[..., Any], *, batched: bool, typed: bool) -> Signature:
    """What ``target`` is called with.

    Args:
        target: A function, a class or an instance.
        batched: Whether it takes a list of inputs.
        typed: Whether its declaration names the type of its input (``input_type=``), so that the
            annotation need not.

    Raises:
        ConfigurationError: If it could not be called; one problem, without the handler's name.
    """
    function, parameters = _parameters_of(target)
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    _refuse_keywords(parameters)
    if not positional:
        any_number = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters)
        raise ConfigurationError([_HIDDEN if any_number else "it must take the event"])
    if positional[0].name in {"self", "cls"}:
        raise ConfigurationError(["it is a method: declare its class, with the code in __call__"])
    for each in positional[1:]:
        if each.name not in SECOND_PARAMETERS and each.default is inspect.Parameter.empty:
            problem = f"parameter {each.name!r} is neither 'event' nor 'options'; {_ONLY}"
            raise ConfigurationError([problem])
    input_type = _input_type(positional[0], function, batched=batched, typed=typed)
    names = ["event" if input_type is None else "input"]
    names += [each.name for each in positional[1:] if each.name in SECOND_PARAMETERS]
    if batched and len(names) > 1:
        raise ConfigurationError(["a batch handler takes the list only"])
    return Signature(function, tuple(names), input_type)


def is_async_function(function: Callable[..., Any]) -> bool:
    """Whether a call of ``function`` gives something to await or to iterate over asynchronously."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def hides_async(function: Callable[..., Any]) -> bool:
    """Whether ``function`` is a plain one around an async one, as many decorators make it."""
    return not is_async_function(function) and is_async_function(inspect.unwrap(function))


def location(target: Callable[..., Any]) -> str:
    """Where ``target`` is written, as ``file:line``; empty where nobody knows."""
    function: Any = inspect.unwrap(getattr(target, "func", target))
    if not hasattr(function, "__code__"):
        owner = function if isinstance(function, type) else type(function)
        function = inspect.getattr_static(owner, "__call__", None)
    code = getattr(function, "__code__", None)
    return "" if code is None else f"{code.co_filename}:{code.co_firstlineno}"


def class_problems(target: Callable[..., Any], *, has_options: bool) -> Iterator[str]:
    """What keeps a class or an instance from being made and told what happens to it."""
    if isinstance(target, type):
        yield from _constructor_problems(target, has_options=has_options)
    elif inspect.isroutine(target):
        return
    for name, arguments in LIFECYCLE.items():
        static = inspect.getattr_static(target, name, None)
        method: Any = getattr(target, name, None)
        if not callable(method):
            continue
        given = [""] if isinstance(target, type) and inspect.isfunction(static) else []
        try:
            _signature(method).bind(*given, *arguments)
        except TypeError:
            yield f"its {name} is called with ({', '.join(arguments)}), which it does not take"
        if name == "tick" and inspect.iscoroutinefunction(method):
            yield "its tick is async, but what it returns is not waited for"


def _constructor_problems(target: type, *, has_options: bool) -> Iterator[str]:
    required = [
        each.name
        for each in _signature(target).parameters.values()
        if each.default is inspect.Parameter.empty
        and each.kind not in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    ]
    if len(required) > has_options:
        names = ", ".join(required)
        given = "the options only" if has_options else "nothing: it declares no model of options"
        yield f"its constructor takes {names}, but is given {given}"


def made_with(target: type, options: Any) -> Any:
    """An instance of ``target``; with the options if it has any and takes an argument."""
    parameters = list(_signature(target).parameters.values())
    if options is None or not parameters:
        return target()
    first = next((each for each in parameters if each.name == "options"), parameters[0])
    if first.kind is inspect.Parameter.KEYWORD_ONLY:
        return target(**{first.name: options})
    return target() if first.kind is inspect.Parameter.VAR_KEYWORD else target(options)


def _parameters_of(
    target: Callable[..., Any],
) -> tuple[Callable[..., Any], Sequence[inspect.Parameter]]:
    """The function whose signature counts, and its parameters without ``self``."""
    function: Any = target
    bound = 0
    if not inspect.isroutine(target):
        owner = target if isinstance(target, type) else type(target)
        call: Any = inspect.getattr_static(owner, "__call__", None)
        if inspect.isfunction(call):
            function, bound = call, 1
        elif isinstance(target, type):
            if not any("__call__" in vars(base) for base in target.__mro__):
                raise ConfigurationError(["the class has no __call__, which takes the event"])
            function = target.__call__
    return function, list(_signature(function).parameters.values())[bound:]


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except ValueError:
        raise ConfigurationError(["it does not say what it takes; wrap it in a function"]) from None


def _refuse_keywords(parameters: Sequence[inspect.Parameter]) -> None:
    for each in parameters:
        if each.kind is inspect.Parameter.KEYWORD_ONLY and (
            each.default is inspect.Parameter.empty or each.name in SECOND_PARAMETERS
        ):
            problem = f"parameter {each.name!r} is keyword-only, but gets its value by position"
            raise ConfigurationError([f"{problem}: take out the * before it"])


def _input_type(
    parameter: inspect.Parameter, function: Callable[..., Any], *, batched: bool, typed: bool
) -> Any:
    annotation = _resolved(parameter, function, typed=typed)
    if batched:
        annotation = _element(annotation)
    if _is_event(annotation):
        return None
    if is_data_type(annotation):
        return annotation
    shown = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    if not batched and (get_origin(annotation) or annotation) in _LISTS:
        raise ConfigurationError(
            [f"its first parameter is a list ({shown}), which takes batch= in its declaration"]
        )
    raise ConfigurationError(
        [f"its first parameter is annotated {shown}, which it would not be called with: {_MEND}"]
    )


def _resolved(parameter: inspect.Parameter, function: Callable[..., Any], *, typed: bool) -> Any:
    """The annotation; of no other parameter, as a name of another need not be there yet."""
    annotation: Any = parameter.annotation
    if not isinstance(annotation, str):
        return annotation
    known: Any = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return eval(annotation, known)  # noqa: S307 -- the user's own code, as Python itself does
    except Exception as error:  # noqa: BLE001 -- as above; mostly a name that is not there
        # imported for the type checker only, as some linters would have it
        if typed or annotation.rpartition(".")[2] == "Event":
            return Event
        problem = f"the annotation {annotation!r} cannot be resolved ({error}): import it when the"
        raise ConfigurationError(
            [f"{problem} module runs, not for the type checker only"]
        ) from None


def _element(annotation: Any) -> Any:
    """What a list of a batch handler holds."""
    origin = get_origin(annotation) or annotation
    if origin in _LISTS:
        return (*get_args(annotation), Any)[0]
    if _is_event(annotation) and annotation is not Event:
        return annotation
    raise ConfigurationError(["a batch handler is called with a list: annotate list[...]"])


def _is_event(annotation: Any) -> bool:
    """Whether an event fits: what is not annotated takes anything."""
    if annotation is inspect.Parameter.empty or annotation is Any:
        return True
    if get_origin(annotation) is Annotated:
        return _is_event(get_args(annotation)[0])
    if is_union(annotation):
        return any(map(_is_event, get_args(annotation)))
    if isinstance(annotation, TypeVar):
        return True
    return isinstance(annotation, type) and (
        issubclass(annotation, Event)
        or annotation in Event.__mro__
        or bool(getattr(annotation, "_is_protocol", False))
    )
