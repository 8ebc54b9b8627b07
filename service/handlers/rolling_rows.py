"""What ``rolling_metrics`` adds up: the key, the time and the value of each event of a run."""

from collections.abc import Iterator, Sequence
from math import isnan
from operator import attrgetter
from typing import Any, TypeAlias

from service.clock import LATEST_MS
from service.errors import SchemaError
from service.handlers import fields
from service.handlers.rolling_options import RollingMetricsOptions
from service.windows.aggregate import LARGEST

Row: TypeAlias = tuple[int, str, int, float]
"""Index in the batch, key, time, value."""

_key = attrgetter("key")
_timestamp = attrgetter("timestamp")


class RowReader:
    """Reads the fields that the options name.

    Args:
        options: Those of the handler.
    """

    def __init__(self, options: RollingMetricsOptions) -> None:
        self._value, self._time = options.value, str(options.time)
        self._keys = None if options.key is None else fields.texts(options.key)
        self._values = fields.numbers(options.value)
        self._stamps = None if options.time is None else fields.numbers(options.time)

    def read(
        self, indexes: Sequence[int], data: Sequence[Any], records: Sequence[Any]
    ) -> Iterator[Row]:
        """What there is to add, all of it checked.

        Args:
            indexes: Those of the events in their batch.
            data: The data of each.
            records: The record or event of each.

        Raises:
            SchemaError: If something cannot be added up.
        """
        values = self._values(data)
        # The sum is there for NaN, which compares as it likes; 1,000 times LARGEST is a number.
        if not -LARGEST <= min(values) <= max(values) <= LARGEST or isnan(sum(values)):
            raise SchemaError(self._value, "out of range")
        keys = _key_texts(records) if self._keys is None else self._keys(data)
        if self._stamps is None:
            times = list(map(_timestamp, records))
            if max(times) > LATEST_MS:
                raise SchemaError("timestamp", "of the record is out of range")
        else:
            stamps = self._stamps(data)
            if not -LATEST_MS <= min(stamps) <= max(stamps) <= LATEST_MS:
                raise SchemaError(self._time, "out of range")
            times = list(map(int, stamps))
        return zip(indexes, keys, times, values, strict=True)


def _key_texts(records: Sequence[Any]) -> list[str]:
    """What :attr:`service.events.Event.key_text` says, of many."""
    try:
        return list(map(bytes.decode, map(_key, records)))
    except (TypeError, UnicodeDecodeError):
        return [
            "" if record.key is None else record.key.decode("utf-8", "backslashreplace")
            for record in records
        ]
