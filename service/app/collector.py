"""Keeps Python's cycle collector out of the way of records.

A record in memory is a few objects that the collector has to look at, and none of them is ever
part of a cycle.  With the default thresholds, a backlog makes it walk everything that is alive
several times a second, which was measured at a quarter to a half of all processor time.  What
exists after start-up is taken out of its sight, and it looks rarely; reference counting frees
records as before.

A look at the young objects costs as much as there are records under way, whatever the threshold,
and finds nothing in most services.  So the threshold doubles as long as looks find next to
nothing, and falls back at once when one finds something: a handler that makes cycles gets the
frequent looks that it needs.
"""

import gc
from collections.abc import Callable, Mapping
from typing import Final, Literal

LEAST_THRESHOLD: Final = 100_000
"""Allocations, less deallocations, between looks at the young objects."""
MOST_THRESHOLD: Final = 800_000
"""At about 100 bytes an object 80 MB; more where few objects in cycles hold large buffers."""
OLDER_THRESHOLDS: Final = (10, 10)
"""How many looks at each generation before the next one is looked at too."""

_MUCH: Final = 0.05
_NOTHING: Final = 0.01


class Patience:
    """How long the collector may wait, from what it has found.

    Attributes:
        threshold: Allocations, less deallocations, before the next look.
    """

    def __init__(self) -> None:
        self.threshold = LEAST_THRESHOLD

    def looked(self, found: int) -> int:
        """A look has found so many objects in cycles; returns the next threshold."""
        if found > self.threshold * _MUCH:
            self.threshold = LEAST_THRESHOLD
        elif found < self.threshold * _NOTHING:
            self.threshold = min(2 * self.threshold, MOST_THRESHOLD)
        return self.threshold


def calm_collector() -> Callable[[], None]:
    """Call once, when everything that lives as long as the process has been made.

    Returns:
        Puts the collector back as it was; what is out of its sight stays so.
    """
    patience = Patience()
    before = gc.get_threshold()

    def looked(phase: Literal["start", "stop"], info: Mapping[str, int]) -> None:
        if phase == "stop":
            gc.set_threshold(patience.looked(info["collected"]), *OLDER_THRESHOLDS)

    def restore() -> None:
        gc.callbacks.remove(looked)
        gc.set_threshold(*before)

    gc.collect()
    gc.freeze()
    gc.callbacks.append(looked)
    gc.set_threshold(patience.threshold, *OLDER_THRESHOLDS)
    return restore
