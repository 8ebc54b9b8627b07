"""What handlers remember between events, as handlers and the runtime see it.

State belongs to a (pipeline, handler, topic, partition): whoever owns the partition owns its
state, so a key's state is wherever the key's events are.  A handler reads and writes through
:class:`KeyedState` and names the event that it works for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from service.errors import StateTypeError

PartitionId: TypeAlias = tuple[str, int]

NOT_FINITE: Final = "a value of keyed state holds a number that is not finite (NaN or Infinity)"

MAY_HOLD: Final = frozenset((float, dict, list, tuple))
"""Types in which :func:`is_finite` finds a number that is not; exact ones."""


class Place(Protocol):
    """Whose state is meant: an event, or a :class:`Partition` where there is none (timers)."""

    @property
    def topic(self) -> str:
        """Topic that the input is read from."""
        ...

    @property
    def partition(self) -> int:
        """Partition that the input is read from."""
        ...


class Partition(NamedTuple):
    """A place without an event: what timers name.

    A call that waits for something names its event instead: what it changes here counts with
    whatever of the partition is done next, and is not undone if the call fails.
    """

    topic: str
    partition: int


def check_key(key: Any) -> None:
    """Return if ``key`` can be the key of a record.

    Raises:
        StateTypeError: If it cannot; where the changelog is written, nobody could tell whose it is.
    """
    if not isinstance(key, str):
        raise StateTypeError(f"a key of keyed state is text, not {type(key).__name__}: use str()")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise StateTypeError("a key of keyed state holds half a character") from None


def is_finite(value: Any) -> bool:
    """Whether no number in a value of JSON is NaN or infinite, which JSON has no word for.

    Asked of every value that is put, so it calls itself for what may hold a number only.
    """
    kind = type(value)
    if kind is float:
        return bool(value - value == 0)  # false for NaN and both infinities
    if kind is dict:
        value = value.values()
    elif kind is not list and kind is not tuple:
        return True
    for each in value:  # noqa: SIM110 -- a generator costs more than most values
        if type(each) in MAY_HOLD and not is_finite(each):
            return False
    return True


def all_finite(value: Any) -> bool:
    """As :func:`is_finite`, of subclasses too; slower, for the few values that are in doubt."""
    if isinstance(value, float):
        return value - value == 0  # false for NaN and both infinities
    if isinstance(value, Mapping):
        return all(map(all_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(all_finite, value))
    return True


class Codec(NamedTuple):
    """Values that are not JSON themselves: how they become JSON and come back.

    Attributes:
        encode: A value to JSON, or to the text of it as ``bytes``; called when the value is
            written to the changelog.
        decode: The JSON to an equal value, never ``bytes``; called when a value that was read
            back is asked for.
    """

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


class KeyedState(Protocol):
    """Values by key within a partition.

    Values are JSON (mappings, lists, text, numbers, booleans) unless the state has a
    :class:`Codec`, because that is how they are made durable; JSON has no NaN or infinity.  A
    value got may be changed in place, but only ``put`` makes the change count.  No call waits:
    what is not in memory is on a local disk.
    """

    def get(self, place: Place, key: str) -> Any:
        """The value last put under ``key``, or ``None``."""
        ...

    def put(self, place: Place, key: str, value: Any) -> None:
        """Remember ``value`` (not ``None``) under ``key``; starts its time to live anew.

        Raises:
            StateTypeError: If ``key`` is not text that UTF-8 can hold; in a durable state, if
                ``value`` is ``bytes``, or holds a number that is not finite and there is no codec.
        """
        ...

    def reader(self, place: Place) -> Callable[[str], Any]:
        """:meth:`get` for one partition, for those who read many keys at once.

        Good for a run of events that is handled without waiting; it sees what they change.
        """
        ...

    def put_many(self, place: Place, values: Mapping[str, Any]) -> None:
        """:meth:`put` for each of ``values``, in their order; none of them if one is refused."""
        ...

    def delete(self, place: Place, key: str) -> None:
        """Forget ``key``; no error if it is not there."""
        ...

    def items(self, place: Place) -> Iterator[tuple[str, Any]]:
        """Every key of the partition with its value; do not change the state meanwhile."""
        ...

    def survey(
        self, place: Place, known: Callable[[Any], Any], stored: Callable[[bytes], Any]
    ) -> Iterator[tuple[str, Any]]:
        """:meth:`items` with one fact of each value instead of the value.

        Values that were restored are decoded when they are first asked for, because that takes
        longer than all the rest of a restore.  Who needs no more than a fact of each, as an index
        does, can take it from the JSON.

        Args:
            place: Lies in the partition.
            known: The fact, from a value.
            stored: The same fact from its JSON; ``ValueError`` or ``LookupError`` where it does
                not find it, and ``known`` is asked.
        """
        ...

    def undecided(self, place: Place, key: str) -> bool:
        """Whether a call that is still under way has changed ``key``; it may yet be undone."""
        ...

    def partitions(self) -> Sequence[Partition]:
        """The partitions that have state here."""
        ...


class StateStore(Protocol):
    """The runtime's side of a handler's state: where :class:`KeyedState` comes from."""

    def keyed(
        self, name: str, *, ttl_s: float | None, max_keys: int, codec: Codec | None = None
    ) -> KeyedState:
        """The state called ``name``; the same object for the same name.

        Args:
            name: Distinguishes several states of one handler.
            ttl_s: Seconds after the last ``put`` until a key is forgotten; ``None`` is never.
            max_keys: Most keys per partition; beyond it the keys put longest ago are forgotten.
            codec: For values that are not JSON.
        """
        ...

    def forget(self, topic: str, partition: int) -> None:
        """Drop a partition's state: it belongs to somebody else now."""
        ...
