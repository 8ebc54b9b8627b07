"""``headrace`` as the fault runs start it: the same, or one of its broken variants.

``LAB_MUTANT`` names the variant; ``LAB_TASKS`` a file that gets the number of live tasks every
second.  Nothing of this is known to the service.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import service.app.run as lifecycle
from service.__main__ import main
from service.app.collector import calm_collector
from tests.faults.mutants import MUTANTS

_COUNT_EVERY_S = 1.0


def _count_tasks(path: Path) -> None:
    """Have the running loop write how many tasks it has."""

    def count() -> None:
        loop = asyncio.get_running_loop()
        path.write_text(str(len(asyncio.all_tasks())))
        loop.call_later(_COUNT_EVERY_S, count)

    def begin_and_count() -> Callable[[], None]:
        restore = calm_collector()
        count()
        return restore

    # called once, inside the loop
    lifecycle.calm_collector = begin_and_count  # type: ignore[attr-defined]


if __name__ == "__main__":
    if mutant := os.environ.get("LAB_MUTANT"):
        MUTANTS[mutant].install()
    if tasks := os.environ.get("LAB_TASKS"):
        _count_tasks(Path(tasks))
    sys.exit(main())
