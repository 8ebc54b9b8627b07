"""What a handler returned, as the results to publish.

Knows the shapes that a handler may return and nothing of topics, serialization or retries: a
value that is no JSON is found by the publisher that serializes it.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, TypeGuard

from service.errors import OutputTooLargeError, PermanentError
from service.events import Event, Result, SameKey
from service.state.keyed import Partition

MAX_RESULTS = 1000
"""Most results of one event; a handler that returns more has lost its way (fan-out bound)."""

MAX_TICK_RESULTS = 100_000
"""Most results of one tick: timers of many keys may be due at once."""

TICK_AGAIN_RESULTS = 500
"""Results of a tick from which on the next one comes at once, and not after a second.

So a handler with much to say can say it in parts that do not keep the event loop from the rest.
"""

_ONE_VALUE = (Mapping, bytes, bytearray, memoryview, str, int, float)
_PLAIN_KEYS = (SameKey, bytes)
_NOTHING: tuple[Result, ...] = ()
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_MAX_STAMP_MS = 2**63 - 1


class PartitionResult(Result):
    """A timer's result that goes with the state of one partition.

    In an exactly-once pipeline it is published in the transaction that has what the timer
    changed in that partition's state.

    Args:
        place: The partition whose state the timer worked on.
        value: As for :class:`~service.events.Result`.
        topic: As for the same.
        key: As for the same; a timer has no event whose key it could be.
        headers: As for the same.
        timestamp: As for the same.
    """

    __slots__ = ("place",)

    def __init__(
        self,
        place: Partition,
        value: Any,
        *,
        topic: str | None = None,
        key: bytes | str | None = None,
        headers: Mapping[str, str | bytes] | None = None,
        timestamp: int | None = None,
    ) -> None:
        super().__init__(value, topic=topic, key=key, headers=headers, timestamp=timestamp)
        self.place = place


def to_results(returned: Any, limit: int = MAX_RESULTS) -> Sequence[Result]:
    """Results for what a handler returned.

    ``None`` is no result; a mapping, text, bytes, a number, a pydantic model, a msgspec struct, a
    dataclass or a ``NamedTuple`` is one; a :class:`~service.events.Result` is itself; a list, tuple
    or iterator, or a ``NamedTuple`` of results, is as many as it holds, without the ``None`` among
    them.  An iterator is read here, so what its code raises comes out here.

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


def is_plain(returned: Any) -> TypeGuard[Result]:
    """Whether ``returned`` is a plain result whose address :func:`to_results` would let pass.

    Quick, as it is asked for every event: a key of text would have to be looked at, so a result
    with one is not plain.
    """
    if type(returned) is not Result or not returned.plain:
        return False
    topic: Any = returned.topic  # declared types are the handler's word
    return type(returned.key) in _PLAIN_KEYS and (
        topic is None or (type(topic) is str and _is_topic(topic))
    )


def _unusual(returned: Any, limit: int) -> Sequence[Result]:
    single = None if type(returned) is list else _single(returned)
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
        result = Result(item) if type(item) is dict else _single(item)
        if result is None:
            raise _unusable(item)
        results.append(result)
    return results


def _single(value: Any) -> Result | None:
    """The one result that ``value`` is, or ``None`` if it is something else."""
    if isinstance(value, Result):
        return _addressed(value)
    if isinstance(value, (bytearray, memoryview)):
        return Result(bytes(value))
    if isinstance(value, _ONE_VALUE):
        return Result(value)
    if isinstance(value, Event):
        raise PermanentError("the handler returned its event: return event.data, or another value")
    try:
        return _modelled(value)
    except Exception as error:
        what = f"{type(value).__qualname__}, which cannot be published: {type(error).__name__}"
        raise PermanentError(f"the handler returned {what} as it was turned into JSON") from error


def _addressed(result: Result) -> Result:
    """``result``, if what is around its value can be written to Kafka.

    Checked here, where it costs this event and no other: behind this point a name that no broker
    knows is waited for, and what cannot be encoded stops the publisher.

    Raises:
        PermanentError: If it cannot.
    """
    # declared types are the handler's word; what it did is looked at
    topic: Any = result.topic
    key: Any = result.key
    headers: Any = result.headers
    timestamp: Any = result.timestamp
    if topic is not None and not (isinstance(topic, str) and _is_topic(topic)):
        raise PermanentError("the result's topic is no name that Kafka allows")
    if not (key is None or isinstance(key, (bytes, SameKey)) or _is_text(key)):
        raise PermanentError("the result's key is neither bytes nor text")
    if headers is not None and not _are_headers(headers):
        raise PermanentError("the result's headers do not map text to bytes or text")
    if timestamp is not None and not (
        isinstance(timestamp, int) and 0 <= timestamp <= _MAX_STAMP_MS
    ):
        raise PermanentError("the result's timestamp is no number of milliseconds since 1970")
    return result


@lru_cache(maxsize=1024)
def _is_topic(name: str) -> bool:
    return name not in {".", ".."} and _TOPIC.fullmatch(name) is not None


def _are_headers(headers: Any) -> bool:
    return isinstance(headers, Mapping) and all(
        _is_text(name) and (isinstance(content, bytes) or _is_text(content))
        for name, content in headers.items()
    )


def _is_text(value: Any) -> bool:
    """Whether ``value`` is text that UTF-8 can hold: Python's may have half a character."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _modelled(value: Any) -> Result | None:
    if hasattr(value, "model_dump"):
        return Result(value.model_dump(mode="json"))
    if hasattr(value, "__struct_fields__"):
        import msgspec  # noqa: PLC0415 -- an extra, present if the handler made a struct

        return Result(msgspec.to_builtins(value))
    named: Any = getattr(value, "_asdict", None) if isinstance(value, tuple) else None
    if named is not None and not any(isinstance(each, Result) for each in value):
        return Result(named())  # of a NamedTuple: a list of its fields would be so many results
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
