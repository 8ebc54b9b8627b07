"""Gives memory that nobody uses back to the system, now and then.

The allocator keeps what was freed between blocks that are still used, and after an outage was
caught up with, or a state was restored, that is as much again as the service needs.  It would stay
resident for days, count against the pod's limit, and look like a leak that grows in steps.
``malloc_trim`` of the GNU C library hands such pages back; other libraries have nothing like it,
and there nothing happens.
"""

import ctypes
import threading
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 60.0
"""A look takes some milliseconds, in a thread of its own; what is needed again is faulted in."""


def malloc_trim() -> None:
    """Give back what is unused, if the C library can; other threads go on meanwhile."""
    if _trim is not None:
        _trim(0)


def keep_giving_back(
    every_s: float = EVERY_S, give_back: Callable[[], object] = malloc_trim
) -> Callable[[], None]:
    """Call ``give_back`` again and again in a thread of its own.

    Returns:
        What ends it.
    """
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(every_s):
            give_back()

    threading.Thread(target=work, name="unused memory", daemon=True).start()
    return ended.set


def _find() -> Callable[[int], int] | None:
    try:
        function = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_size_t]
    function.restype = ctypes.c_int
    return lambda pad_bytes: int(function(pad_bytes))


_trim = _find()
