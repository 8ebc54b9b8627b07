"""What is done to every log entry before it is written: trace ids, bounds, escapes.

Values come from outside (keys, error texts, header names), so none of them may be large or
carry a control character to a terminal.
"""

import re
from collections.abc import Collection, Mapping, MutableMapping
from typing import Any

from opentelemetry import trace

VALUE_MAX_BYTES = 1024
"""Longest value of a field."""

STACK_MAX_CHARS = 8192
"""Longest traceback: the newest frames are kept, they are what is looked for."""

_STACKS = ("exception", "stack")
_MAX_ITEMS = 32
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL_BUT_NEWLINE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

Entry = MutableMapping[str, Any]


def add_trace_ids(_logger: Any, _method: str, entry: Entry) -> Entry:
    """Add the identifiers of the current span, if there is one."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        entry["trace_id"] = f"{context.trace_id:032x}"
        entry["span_id"] = f"{context.span_id:016x}"
    return entry


def bound_values(_logger: Any, _method: str, entry: Entry) -> Entry:
    """Cut and escape every value, and turn what JSON has no form for into text."""
    for name, value in entry.items():
        if name in _STACKS and isinstance(value, str):
            entry[name] = _escaped(value[-STACK_MAX_CHARS:], _CONTROL_BUT_NEWLINE)
        else:
            entry[name] = bounded(value)
    return entry


def bounded(value: Any) -> Any:
    """``value`` as something short and harmless that JSON can carry."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)[:VALUE_MAX_BYTES]
    if isinstance(value, bytes | bytearray | memoryview):
        return _text(bytes(value[:VALUE_MAX_BYTES]).decode("utf-8", "backslashreplace"))
    try:
        return _shown(value)
    except Exception as error:  # noqa: BLE001 -- somebody's __repr__ must not fail who logs
        return f"<{type(value).__name__} without text: {type(error).__name__}>"


def _shown(value: Any) -> list[Any] | str:
    if isinstance(value, Mapping):
        return _text(repr(dict(list(value.items())[:_MAX_ITEMS])))
    if isinstance(value, list | tuple | set | frozenset):
        return _items(value)
    return _text(value if isinstance(value, str) else str(value))


def _items(values: Collection[Any]) -> list[Any] | str:
    """A short list as a list; a long one as text, cut."""
    first = [bounded(value) for value in list(values)[:_MAX_ITEMS]]
    if len(values) > _MAX_ITEMS or len(repr(first)) > VALUE_MAX_BYTES:
        return _text(f"{len(values)} items: {first!r}")
    return first


def _text(value: str) -> str:
    value = _escaped(value[:VALUE_MAX_BYTES], _CONTROL)
    encoded = value.encode("utf-8", "backslashreplace")
    if len(encoded) <= VALUE_MAX_BYTES:
        return value
    return encoded[: VALUE_MAX_BYTES - 3].decode("utf-8", "ignore") + "…"


def _escaped(value: str, unwanted: re.Pattern[str]) -> str:
    return unwanted.sub(lambda match: f"\\u{ord(match[0]):04x}", value)
