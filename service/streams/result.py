"""Errors as items: a value that is either ``Ok`` or ``Err``.

An ``Err`` is an item like any other.  It does not end a stream; only the consuming ``try_*``
methods stop at the first one and give it back.
"""

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

V_co = TypeVar("V_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Ok(Generic[V_co]):
    """A value that was computed.

    >>> Ok(3)
    Ok(value=3)
    """

    value: V_co


@dataclass(frozen=True, slots=True)
class Err(Generic[E_co]):
    """The reason why there is no value; usually an exception, but anything will do."""

    error: E_co


Result: TypeAlias = Ok[V_co] | Err[E_co]
"""What the ``try_*`` methods read."""


@dataclass(frozen=True, slots=True)
class Partial(Generic[V_co, E_co]):
    """What ``try_chunks`` had together when an error came: the error, and the items before it."""

    items: list[V_co]
    error: E_co
