"""What a handler is, as declared: the ``@handler`` decorator and what it records.

A declaration is checked when it is made (at import), so that a mistake in it shows with the line
that made it.  Nothing is called and nothing is opened here.
"""

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, get_args

from service.errors import ConfigurationError
from service.handlers.signature import (
    LIFECYCLE,
    class_problems,
    hides_async,
    is_async_function,
    location,
    read_signature,
)

if TYPE_CHECKING:
    from service.handlers.bound import BoundHandler

Ordering: TypeAlias = Literal["key", "partition", "none"]
RunIn: TypeAlias = Literal["loop", "thread", "process"]

SPEC_ATTRIBUTE: Final = "__headrace_handler__"
"""Where the decorator leaves the spec; the decorated function itself stays as it was."""

DEFAULT_LINGER_S: Final = 0.02

DEFAULT_THREADS: Final = 4
"""Threads of a handler that declares no concurrency."""

_STATE_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")

_T = TypeVar("_T", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerSpec:
    """One declared handler.

    What is ``None`` here was not declared, and the configuration's default applies; what the
    configuration names for a handler wins over its declaration.

    Attributes:
        name: Registered name, or ``package.module:name`` for an undecorated callable.
        use: ``package.module:qualified.name``, by which another process finds it.
        target: The function or class.
        options: Model of the options; ``None`` if it takes none.
        input_type: Model, struct or dataclass of ``event.data``; ``None`` for no check.
        parameters: What the callable is called with, in order: ``event``, ``input``, ``options``.
        is_async: Whether a bound call returns an awaitable.
        batch: Most events per call; ``None`` for one at a time.
        linger_s: Longest wait for a batch to fill.
        run_in: Where a sync handler runs: on the event loop, in a thread, in a process.
        tombstones: Whether it wants events whose value is null (``event.data`` is ``None``).
        concurrency: Most calls in flight.
        timeout_s: Longest call.
        ordering: What must not be handled concurrently.
        state: Names of its states that are durable.
    """

    name: str
    use: str
    target: Callable[..., Any]
    options: Any = None
    input_type: Any = None
    parameters: tuple[str, ...] = ("event",)
    is_async: bool = False
    batch: int | None = None
    linger_s: float = DEFAULT_LINGER_S
    run_in: RunIn = "loop"
    tombstones: bool = False
    concurrency: int | None = None
    timeout_s: float | None = None
    ordering: Ordering | None = None
    state: tuple[str, ...] = ()

    def bind(
        self,
        options: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        concurrency: int | None = None,
    ) -> "BoundHandler":
        """The handler with its options, ready to be opened and called.

        Args:
            options: As configured.
            name: The handler's name in the configuration; the registered name if empty.
            concurrency: Most calls at a time as configured; as declared if ``None``.

        Raises:
            ConfigurationError: If the options do not fit; it lists every problem with its path.
        """
        from service.handlers.bound import BoundHandler  # noqa: PLC0415 -- they know each other

        return BoundHandler(
            self,
            options or {},
            name=name or self.name,
            concurrency=concurrency or self.concurrency or 1,
        )


_registered: dict[str, HandlerSpec] = {}


def handler(
    name: str,
    *,
    concurrency: int | None = None,
    timeout_s: float | None = None,
    ordering: Ordering | None = None,
    input_type: Any = None,
    options: Any = None,
    batch: int | None = None,
    linger_s: float = DEFAULT_LINGER_S,
    run_in: RunIn = "loop",
    tombstones: bool = False,
    state: Sequence[str] = (),
) -> Callable[[_T], _T]:
    """Declare a function or a class as the handler called ``name``.

    The function (or the class's ``__call__``) takes an :class:`~service.events.Event`, or the
    model, struct or dataclass that its data must fit, and if it likes the event and the options
    after it.  It may be sync, async or a generator of either kind.  What it returns is what
    :func:`~service.handlers.results.to_results` takes.

    Args:
        name: What ``use:`` in the configuration says; unique in a process.
        concurrency: Most calls in flight, if the configuration does not say.
        timeout_s: Longest call in seconds, if the configuration does not say.
        ordering: ``key``, ``partition`` or ``none``, if the configuration does not say.
        input_type: Makes ``event.data`` an instance of this type, for a handler that takes the
            event; one that takes the type itself says so by its annotation.
        options: Model of the options; a class may also have it as its attribute ``Options``.
        batch: Call it with a list of up to so many inputs; it returns a list of as many results,
            in which an exception fails its own event only.
        linger_s: Longest wait in seconds for a batch to fill.
        run_in: Run a sync handler that blocks in a ``thread``, one that burns CPU in a
            ``process``, with as many of them as its concurrency.
        tombstones: Also call it for null values, with ``event.data`` being ``None``.
        state: Names of states (:meth:`~service.handlers.context.HandlerContext.state`) that
            survive the process: each has a changelog topic.

    Raises:
        ConfigurationError: If the declaration contradicts itself or the name is taken.
    """
    _check_name(name)

    def declare(target: _T) -> _T:
        spec = make_spec(
            target,
            name=name,
            concurrency=concurrency,
            timeout_s=timeout_s,
            ordering=ordering,
            input_type=input_type,
            options=options,
            batch=batch,
            linger_s=linger_s,
            run_in=run_in,
            tombstones=tombstones,
            state=state,
        )
        known = _registered.get(name)
        if known is not None and known.use != spec.use:
            raise ConfigurationError(
                [f"handler {name!r} is declared by {known.use} and {spec.use}"]
            )
        _registered[name] = spec
        setattr(target, SPEC_ATTRIBUTE, spec)
        return target

    return declare


def _check_name(name: Any) -> None:
    """Refuse what cannot be the name of a handler.

    Raises:
        ConfigurationError: If it cannot.
    """
    if callable(name):  # without brackets its argument is what it stands above
        known = getattr(name, "__name__", "name")
        problem = f'it needs a name in brackets, @handler("{known}")'
        raise ConfigurationError([f"@handler above {known} ({location(name)}): {problem}"])
    if not isinstance(name, str) or not name or ":" in name:
        problem = "should be text without a colon, which is for package.module:callable"
        raise ConfigurationError([f"@handler({name!r}): its name {problem}"])


def registered() -> Mapping[str, HandlerSpec]:
    """The handlers declared so far, by name."""
    return _registered


def make_spec(
    target: Callable[..., Any],
    *,
    name: str,
    input_type: Any = None,
    options: Any = None,
    batch: int | None = None,
    linger_s: float = DEFAULT_LINGER_S,
    run_in: RunIn = "loop",
    tombstones: bool = False,
    concurrency: int | None = None,
    timeout_s: float | None = None,
    ordering: Ordering | None = None,
    state: Sequence[str] = (),
) -> HandlerSpec:
    """The spec of ``target``, from its signature and the declaration's arguments.

    Raises:
        ConfigurationError: If they contradict each other.
    """
    refusals = [
        *_number_problems(batch, linger_s, concurrency, timeout_s),
        *_word_problems(run_in, ordering, state),
    ]
    at = location(target)
    named = f"handler {name!r} ({at})" if at else f"handler {name!r}"
    try:
        function, parameters, annotated = read_signature(
            target, batched=batch is not None, typed=input_type is not None
        )
    except ConfigurationError as error:
        refusals += error.problems
        raise ConfigurationError([f"{named}: {problem}" for problem in refusals]) from None
    is_async = is_async_function(function) or (run_in == "loop" and hides_async(function))
    spec = HandlerSpec(
        name=name,
        use=f"{target.__module__}:{getattr(target, '__qualname__', type(target).__qualname__)}",
        target=target,
        options=options if options is not None else getattr(target, "Options", None),
        input_type=input_type if input_type is not None else annotated,
        parameters=parameters,
        is_async=is_async or run_in != "loop",
        batch=batch,
        linger_s=linger_s,
        run_in=run_in,
        tombstones=tombstones,
        concurrency=_default_concurrency(batch, run_in) if concurrency is None else concurrency,
        timeout_s=timeout_s,
        ordering=ordering,
        state=tuple(state),
    )
    if input_type is not None and annotated is not None:
        refusals.append("the type of the input is given twice, as input_type= and by annotation")
    has_options = options is not None or hasattr(target, "Options")
    refusals += _contradictions(spec, function, has_options=has_options)
    if refusals:
        raise ConfigurationError([f"{named}: {problem}" for problem in refusals])
    return spec


def _contradictions(
    spec: HandlerSpec, function: Callable[..., Any], *, has_options: bool
) -> Iterator[str]:
    """Where the declaration and what is declared, whose code is ``function``, do not fit."""
    if spec.batch is not None and not inspect.iscoroutinefunction(function):
        yield "batch needs an async function"
    if spec.run_in != "loop" and is_async_function(function):
        yield f"run_in: {spec.run_in} is for sync functions"
    if spec.run_in == "process":
        importable = inspect.isfunction(spec.target) or isinstance(spec.target, type)
        if not importable or "<" in spec.use:
            yield "run_in: process needs something with a name that another process can import"
        if any(hasattr(spec.target, name) for name in LIFECYCLE):
            yield f"run_in: process knows none of {', '.join(LIFECYCLE)}"
    if "options" in spec.parameters and not has_options:
        yield "it takes options but declares no model for them (options=)"
    yield from class_problems(spec.target, has_options=has_options)


def _number_problems(
    batch: int | None, linger_s: float, concurrency: int | None, timeout_s: float | None
) -> Iterator[str]:
    """What is wrong with those arguments of a declaration that are numbers."""
    if batch is not None and batch < 1:
        yield f"batch is {batch}, at least 1 is possible"
    if linger_s < 0:
        yield f"linger_s is {linger_s:g}, but time does not run backwards"
    if concurrency is not None and concurrency < 1:
        yield f"concurrency is {concurrency}"
    if timeout_s is not None and timeout_s <= 0:
        yield f"timeout_s is {timeout_s}"


def _word_problems(run_in: Any, ordering: Any, state: Any) -> Iterator[str]:
    """What is wrong with those arguments of a declaration that are words."""
    for what, value, known in (
        ("run_in", run_in, get_args(RunIn)),
        ("ordering", ordering, (None, *get_args(Ordering))),
    ):
        if value not in known:
            yield f"{what} is {value!r}, not one of {', '.join(filter(None, known))}"
    if isinstance(state, str):  # of which each letter would be a name
        yield f'state={state!r} is one text and no list of names: write state=("{state}",)'
        return
    for name in state:
        if not (isinstance(name, str) and _STATE_NAME.fullmatch(name)):
            yield (
                f"state {name!r} should be letters, digits, ., _ and - only: its changelog topic "
                "is named for it"
            )


def _default_concurrency(batch: int | None, run_in: RunIn) -> int | None:
    if batch is not None:
        return 2 * batch  # one batch fills while another one runs
    if run_in == "process":
        return os.cpu_count() or 1
    return DEFAULT_THREADS if run_in == "thread" else None
