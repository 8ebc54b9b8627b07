"""Leaves records undecoded that no handler's filter wants.

A filter such as ``{field: level, in: [WARN, ERROR]}`` reads one field of an event.  So of every
value only the fields that the filters read are decoded first, which costs a quarter to a half of
all of it, and the rest of it is decoded where a handler wants the event.  Databases call it late
materialization.

What becomes of a record is the same as without, and so is what is refused: that a value is JSON,
its text UTF-8, no integer wider than 64 bits and no nesting too deep is checked of all of it.  One
thing is not: whether a fraction is beyond the range of a double (``1e400``) comes out where it
is decoded.  So a record that is refused for that, and that no filter wants, is not wanted, whether
it was decoded or not.
"""

from collections.abc import Callable, Sequence
from itertools import compress
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypedDict, cast

import msgspec

from service.events import Failure, Record
from service.normalizers import JsonNormalizer, LogNormalizer, Normalizer
from service.normalizers.documents import REFUSALS, beyond, parse_documents, refuse_beyond
from service.normalizers.limits import unread_deep_suspects, wide_integer_suspects
from service.where import Where

MAX_FIELDS: Final = 8
"""Most fields that filters may read; to decode more of them first saves little."""
MIN_RECORDS: Final = 16
"""Smallest chunk that is looked at: what is done once for a chunk costs more in a smaller one."""
MAX_PAUSE: Final = 64
"""Most chunks that are decoded as a whole before it is tried again whether anything is saved."""

_KNOWN: Final = (JsonNormalizer, LogNormalizer)
_value_of = attrgetter("value")


class Preselected(NamedTuple):
    """A chunk of which only what may be wanted was decoded.

    Attributes:
        data: Of each record what the normalizer makes of it, or ``None`` where it is not wanted.
        places: Where in ``data`` the others are, ascending.
        where: The only filter, if each of ``places`` is known to hold data that it wants.
    """

    data: list[Any]
    places: Sequence[int]
    where: Where | None


class Preselect:
    """The first look at the records of one pipeline; see :meth:`of`.

    Args:
        normalizer: Bytes to data.
        wheres: The filters of all handlers.
        fields: All that these and the normalizer read.
    """

    def __init__(
        self, normalizer: JsonNormalizer, wheres: Sequence[Where], fields: frozenset[str]
    ) -> None:
        self._limits = normalizer.limits
        self._normalizer = normalizer
        self._wheres = wheres
        self._some = _decoder_of_some(fields)
        self._column = _Column.of(normalizer, wheres)
        self._pause = 1
        self._paused = 0

    @classmethod
    def of(cls, normalizer: Normalizer, wheres: Sequence[Where | None]) -> "Preselect | None":
        """The first look for ``wheres``; ``None`` where there is nothing to gain.

        That is if a handler takes everything, a filter may read any field, or ``normalizer`` is
        not one of those that are known to give objects as they are written.
        """
        # not subclasses, which may read a value in another way
        if type(normalizer) not in _KNOWN or not wheres:
            return None
        plain = cast("JsonNormalizer", normalizer)
        own = frozenset[str]() if plain.reads is None else frozenset({plain.reads})
        known = [where for where in wheres if where is not None and where.fields is not None]
        fields = own.union(*(where.fields or () for where in known))
        if len(known) < len(wheres) or len(fields) > MAX_FIELDS:
            return None
        return cls(plain, known, fields)

    def select(self, records: Sequence[Record]) -> Preselected | None:
        """What may be wanted of ``records``; ``None`` if all of them have to be decoded.

        Where that was for nothing, as most are wanted or one is no JSON object, a number of
        chunks that doubles each time is not looked at.
        """
        if len(records) < MIN_RECORDS:
            return None
        if self._paused:
            self._paused -= 1
            return None
        found = self._select([record.value for record in records])
        if found is None or len(found.places) > len(records) // 2:
            self._paused = self._pause
            self._pause = min(self._pause * 2, MAX_PAUSE)
        else:
            self._pause = 1
        return found

    def is_unwanted(self, value: bytes | None) -> bool:
        """Whether no filter wants ``value``, which was refused for a fraction beyond a double.

        False as well if there is anything else to refuse in it.
        """
        if value is None or len(value) > self._limits.max_value_bytes or not _is_utf8(value):
            return False
        try:
            (some,) = self._normalizer.finish([self._some.decode(value)])
        except REFUSALS:
            return False
        return not (
            type(some) is Failure
            or any(where(some) for where in self._wheres)
            or beyond(value, self._limits)
        )

    def _select(self, given: Sequence[bytes | None]) -> Preselected | None:
        values = cast("Sequence[bytes]", given)
        joined = self._joined(values)
        if joined is None:
            return None
        try:
            places = None if self._column is None else self._column.select(values)
            sure = places is not None  # of what it selects there is nothing to be finished
            if places is None:
                some = self._normalizer.finish(list(map(self._some.decode, values)))
                places = self._wanted(some)
        except REFUSALS:
            return None
        suspects = {
            *wide_integer_suspects(values, joined),
            *unread_deep_suspects(values, joined, self._limits.max_depth),
        }
        if suspects:
            sure = False
            places = sorted(suspects.union(places))
        chosen = [values[place] for place in places]
        salvage = self._normalizer.salvage
        datas, salvaged = parse_documents(chosen, salvage)
        if suspects:
            indexes = {index for index, place in enumerate(places) if place in suspects}
            refuse_beyond(indexes - salvaged, chosen, datas, self._limits, salvage)
        if not sure:
            datas = self._normalizer.finish(datas)
        data: list[Any] = [None] * len(values)
        for place, each in zip(places, datas, strict=True):
            data[place] = each
        return Preselected(data, places, self._wheres[0] if sure and not salvaged else None)

    def _joined(self, values: Sequence[bytes]) -> bytes | None:
        """``values`` in one; ``None`` if there is a tombstone, one too large, or no UTF-8."""
        try:
            joined = b"\n".join(values)
        except TypeError:
            return None
        limit = self._limits.max_value_bytes
        if len(joined) > limit and max(map(len, values)) > limit:
            return None
        return joined if _is_utf8(joined) else None

    def _wanted(self, some: Sequence[Any]) -> Sequence[int]:
        """Places of what any filter wants, ascending, and of what was refused."""
        if len(self._wheres) == 1 and Failure not in map(type, some):
            return self._wheres[0].select_many(some)
        wanted = {place for where in self._wheres for place in where.select_many(some)}
        wanted.update(place for place, each in enumerate(some) if type(each) is Failure)
        return sorted(wanted)


class _Column:
    """One field of a chunk, where that decides alone; half the price of a ``dict`` for each.

    Args:
        field: Its name.
        is_wanted: Whether the filter wants a value; raises ``KeyError`` for one that the
            normalizer does not leave as it is.
    """

    def __init__(self, field: str, is_wanted: Callable[[Any], bool]) -> None:
        self._is_wanted = is_wanted
        # no cycle can be made of its values, which are let go at once
        row = msgspec.defstruct(
            "row", [("value", Any, msgspec.field(name=field, default=None))], gc=False
        )
        self._decode = msgspec.json.Decoder(row).decode

    @classmethod
    def of(cls, normalizer: JsonNormalizer, wheres: Sequence[Where]) -> "_Column | None":
        """That of the only filter, if it asks for some values of one field and nothing else."""
        where = wheres[0]
        if len(wheres) > 1 or where.field is None or where.wanted is None:
            return None
        if normalizer.reads is None:
            return cls(where.field, where.wanted.__contains__)
        if normalizer.reads != where.field:
            return None
        return cls(
            where.field, {value: value in where.wanted for value in normalizer.usual}.__getitem__
        )

    def select(self, values: Sequence[bytes]) -> Sequence[int] | None:
        """Places of what the filter wants, ascending; ``None`` if that takes a closer look.

        Raises:
            One of REFUSALS: If one of ``values`` is no object.
        """
        column = map(_value_of, map(self._decode, values))
        try:
            return list(compress(range(len(values)), map(self._is_wanted, column)))
        except (KeyError, TypeError):  # TypeError: a list or an object in the field
            return None


def _decoder_of_some(fields: frozenset[str]) -> Any:
    """Decodes of a JSON object those of ``fields`` that it has, whatever they hold."""
    some = TypedDict("some", dict.fromkeys(sorted(fields), Any), total=False)  # type: ignore[misc]  # the names are known only now
    return msgspec.json.Decoder(some)


def _is_utf8(value: bytes) -> bool:
    """Whether ``value`` is UTF-8, which the decoder checks only of text that it decodes."""
    if value.isascii():
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
