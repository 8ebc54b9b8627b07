"""Finds a normalizer by the name that configuration gives."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from inspect import isclass, iscoroutinefunction, signature
from typing import Any, Final, cast

from service.errors import ConfigurationError, PermanentError, code_of, words_of
from service.events import Failure, Record
from service.normalizers.base import (
    DEFAULT_LIMITS,
    TOMBSTONE,
    Limits,
    Normalizer,
    refused,
    too_large,
)
from service.normalizers.cloudevents import CloudEventsNormalizer
from service.normalizers.json import JsonNormalizer
from service.normalizers.log import LogNormalizer
from service.normalizers.raw import RawNormalizer

BUILT_IN: Mapping[str, Callable[[Limits], Normalizer]] = {
    "json": JsonNormalizer,
    "log": LogNormalizer,
    "cloudevents": CloudEventsNormalizer,
    "raw": RawNormalizer,
}
"""Normalizers that come with the service, by name."""

_IS_ASYNC: Final = "normalizer: {} is async; work that waits is a handler's"


def load_normalizer(
    name: str, limits: Limits = DEFAULT_LIMITS, options: Mapping[str, Any] | None = None
) -> Normalizer:
    """The normalizer called ``name``.

    Args:
        name: One of :data:`BUILT_IN`, or ``package.module:callable``: a function that takes a
            record (and ``options`` as keyword arguments) and returns its data, or a class that is
            built with ``options`` and has ``decode_many``.
        limits: What one value may cost.
        options: For normalizers of one's own only.

    Raises:
        ConfigurationError: If there is none of that name, or it cannot be built.
    """
    if name in BUILT_IN:
        return BUILT_IN[name](limits)
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise ConfigurationError(
            [f"normalizer: {name} is none of {', '.join(BUILT_IN)} and no package.module:callable"]
        )
    try:
        target: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            target = getattr(target, part)
    except Exception as error:  # importing runs code that is not ours
        raise ConfigurationError(
            [f"normalizer: {name} cannot be imported: {type(error).__name__}: {error}"]
        ) from error
    return _built(name, target, limits, dict(options or {}))


def _built(name: str, target: Any, limits: Limits, options: dict[str, Any]) -> Normalizer:
    if isclass(target):
        try:
            target = target(**options)
        except Exception as error:  # the constructor is not ours
            raise ConfigurationError(
                [f"normalizer_options: {name} refuses them: {type(error).__name__}: {error}"]
            ) from error
        options = {}
    if hasattr(target, "decode_many"):
        if iscoroutinefunction(target.decode_many):
            raise ConfigurationError([_IS_ASYNC.format(name)])
        return _TotalNormalizer(name, cast("Normalizer", target))
    if not callable(target):
        raise ConfigurationError([f"normalizer: {name} is not callable"])
    _refuse_uncallable(name, target, options)
    return FunctionNormalizer(name, target, limits, options)


def _refuse_uncallable(name: str, function: Callable[..., Any], options: dict[str, Any]) -> None:
    """Refuse at the start what would otherwise send every record to the dead-letter topic.

    Raises:
        ConfigurationError: If ``function`` is async, or does not take a record and ``options``.
    """
    if iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__):
        raise ConfigurationError([_IS_ASYNC.format(name)])
    try:
        takes = signature(function)
    except (ValueError, NameError):  # one written in C, or annotated for the type checker only
        return
    try:
        takes.bind(None, **options)
    except TypeError as error:
        problem = f"normalizer: {name} cannot be called with a record and normalizer_options"
        raise ConfigurationError([f"{problem}: {error}"]) from error


class FunctionNormalizer:
    """A function of one record as a normalizer; what it raises becomes a failure.

    ``DecodeError``, ``SchemaError`` and ``VersionError`` keep their code; anything else is
    ``decode`` with the name of the exception and nothing of its text, which may hold the payload.

    Args:
        name: The name that configuration uses.
        function: Record to data.
        limits: What one value may cost; only the size is looked at.
        options: Keyword arguments of every call.
    """

    def __init__(
        self, name: str, function: Callable[..., Any], limits: Limits, options: dict[str, Any]
    ) -> None:
        self.name = name
        self._function = function
        self._max_bytes = limits.max_value_bytes
        self._options = options

    def decode_many(self, records: Sequence[Record]) -> list[Any]:
        """Data, a failure or a tombstone per record."""
        return [self._decode(record) for record in records]

    def _decode(self, record: Record) -> Any:
        value = record.value
        if value is None:
            return TOMBSTONE
        if len(value) > self._max_bytes:
            return too_large(self._max_bytes)
        try:
            return self._function(record, **self._options)
        except Exception as error:  # noqa: BLE001 -- the function is not ours, and we are total
            return failure_of(error)


class _TotalNormalizer:
    """A chunk-level normalizer that is not ours, held to its contract."""

    def __init__(self, name: str, inner: Normalizer) -> None:
        self.name = name
        self._inner = inner

    def decode_many(self, records: Sequence[Record]) -> list[Any]:
        """What the inner one gives; if it raises, each record is tried alone."""
        try:
            datas = self._inner.decode_many(records)
            lost = len(datas) != len(records)
        except Exception as error:  # noqa: BLE001 -- it is not ours, and we are total
            if len(records) == 1:
                return [failure_of(error)]
            return [data for record in records for data in self.decode_many([record])]
        if lost:
            return [refused("decode", "the normalizer gave a wrong number of values")] * len(
                records
            )
        return datas


def failure_of(error: Exception) -> Failure:
    """The failure that an exception of a normalizer stands for."""
    if isinstance(error, PermanentError):
        return refused(code_of(error), words_of(error))
    return refused("decode", f"the normalizer raised {type(error).__name__}")
