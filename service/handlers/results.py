"""What a handler returned, as the results to publish.

Knows the shapes that a handler may return and nothing of topics, serialization or retries: a
value that is no JSON is found by the publisher that serializes it.
"""

import dataclasses
import inspect
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from service.errors import OutputTooLargeError, PermanentError
from service.events import Result
from service.state.keyed import Partition

MAX_RESULTS = 1000
"""Most results of one event; a handler that returns more has lost its way (fan-out bound)."""

MAX_TICK_RESULTS = 100_000
"""Most results of one tick: timers of many keys may be due at once."""

_ONE_VALUE = (Mapping, bytes, bytearray, memoryview, str, int, float)
_NOTHING: tuple[Result, ...] = ()


class PartitionResult(Result):
    """A timer's result that goes with the state of one partition.

    In an exactly-once pipeline it is published in the transaction that has what the timer
    changed in that partition's state.

    Args:
        place: The partition whose state the timer worked on.
        value: As for :class:`~service.events.Result`.
        topic: As for the same.
        key: As for the same; a timer has no event whose key it could be.
    """

    __slots__ = ("place",)

    def __init__(
        self,
        place: Partition,
        value: Any,
        *,
        topic: str | None = None,
        key: bytes | str | None = None,
    ) -> None:
        super().__init__(value, topic=topic, key=key)
        self.place = place


def to_results(returned: Any, limit: int = MAX_RESULTS) -> Sequence[Result]:
    """Results for what a handler returned.

    ``None`` is no result; a mapping, text, bytes, a number, a pydantic model, a msgspec struct or
    a dataclass is one; a :class:`~service.events.Result` is itself; a list, tuple or iterator is
    as many as it holds, without the ``None`` among them.  An iterator is read here, so what its
    code raises comes out here.

    Args:
        returned: The value that the handler returned.
        limit: Most results of one event.

    Raises:
        OutputTooLargeError: If there are more than ``limit``; an endless iterator is not read on.
        PermanentError: If the value is nothing that can be published.
    """
    if returned is None:
        return _NOTHING
    if type(returned) is dict:
        return (Result(returned),)
    return _unusual(returned, limit)


def _unusual(returned: Any, limit: int) -> Sequence[Result]:
    single = _single(returned)
    if single is not None:
        return (single,)
    if not isinstance(returned, Iterable):
        raise _unusable(returned)
    items = list(islice(iter(returned), limit + 1))
    if len(items) > limit:
        raise OutputTooLargeError(f"the handler returned more than {limit} results for one event")
    results: list[Result] = []
    for item in items:
        if item is None:
            continue
        result = _single(item)
        if result is None:
            raise _unusable(item)
        results.append(result)
    return results


def _single(value: Any) -> Result | None:
    """The one result that ``value`` is, or ``None`` if it is something else."""
    if isinstance(value, Result):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return Result(bytes(value))
    if isinstance(value, _ONE_VALUE):
        return Result(value)
    return _modelled(value)


def _modelled(value: Any) -> Result | None:
    if hasattr(value, "model_dump"):
        return Result(value.model_dump(mode="json"))
    if hasattr(value, "__struct_fields__"):
        import msgspec  # noqa: PLC0415 -- an extra, present if the handler made a struct

        return Result(msgspec.to_builtins(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return Result(dataclasses.asdict(value))
    return None


def _unusable(value: Any) -> PermanentError:
    if inspect.iscoroutine(value):
        value.close()  # or Python warns that nobody awaited it
        return PermanentError("the handler returned a coroutine: is an await missing?")
    return PermanentError(
        f"the handler returned {type(value).__qualname__}, which is nothing to publish: "
        "return None, a mapping, text, bytes, a Result, or a list of these"
    )
