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


def keep_giving_back(every_s: float = EVERY_S) -> Callable[[], None]:
    """Begin; returns what ends it."""
    ended = threading.Event()
    trim = _malloc_trim()
    if trim is None:
        return ended.set

    def work() -> None:
        while not ended.wait(every_s):
            trim()

    threading.Thread(target=work, name="unused memory", daemon=True).start()
    return ended.set


def _malloc_trim() -> Callable[[], object] | None:
    """Gives back what is unused, without holding the interpreter's lock."""
    try:
        function = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_size_t]
    function.restype = ctypes.c_int
    return lambda: function(0)
