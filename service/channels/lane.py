"""The fast lane of a channel: how many operations need no decision at all.

A channel's core decides once, for up to a hundred operations ahead, that nothing can go wrong:
``puts`` items may be appended because so many slots are free, nobody is in line for them and no
receiver has to be woken; ``takes`` items may be popped because so many are buffered and nobody is
in line for their slots.  Until then an operation is one decrement and one call of the deque, and
the core reads off afterwards how many there were.
"""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

BUDGET = 128
"""Ready operations in a row after which an end lets other tasks run (tokio's number)."""


class Lane(Generic[T]):
    """What both ends touch without asking.

    Attributes:
        buffer: The items in line.
        puts: Items that may still be appended without asking.
        takes: Items that may still be popped without asking.
        puts_given: What ``puts`` was when the core last looked.
        takes_given: What ``takes`` was when the core last looked.
    """

    __slots__ = ("buffer", "puts", "puts_given", "takes", "takes_given")

    def __init__(self, buffer: deque[T]) -> None:
        self.buffer = buffer
        self.puts = 0
        self.puts_given = 0
        self.takes = 0
        self.takes_given = 0
