"""What a parent tells a worker, what that answers, and how it learns that the parent is gone."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

WORKER_VARIABLE: Final = "_HEADRACE_WORKER"
"""Set by the parent for its workers: ``index:descriptor:descriptor:port``.  Not a setting."""


GAVE_UP: Final = os.EX_UNAVAILABLE
"""A worker's exit code, for its parent only: no broker answered by the start deadline."""


@dataclass(frozen=True, slots=True)
class Worker:
    """This process is worker number ``index`` of a parent.

    Attributes:
        index: From 0.
        report_fd: Where the parent waits for the worker's admin port.
        parent_fd: Input that ends when the parent does, however it ends.
        parent_port: The parent's admin port, which answers for all workers.
    """

    index: int
    report_fd: int
    parent_fd: int
    parent_port: int

    def report(self, admin_port: int) -> None:
        """Tell the parent where to ask; one that is gone is :meth:`when_orphaned`'s business."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.report_fd, b"%d\n" % admin_port)
        os.close(self.report_fd)

    def when_orphaned(self, then: Callable[[], None]) -> None:
        """Call ``then`` once, from the running loop, when the parent is gone.

        The kernel closes a dead process's pipes, also after SIGKILL.  Nobody would stop the worker
        any more, nor start it anew, and it would keep its partitions from a new parent's workers.
        """
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(self.parent_fd)
            os.close(self.parent_fd)
            then()

        loop.add_reader(self.parent_fd, gone)


def this_worker(environ: Mapping[str, str]) -> Worker | None:
    """Which worker this process is; ``None`` for a process of its own."""
    text = environ.get(WORKER_VARIABLE, "")
    match text.split(":"):
        case [index, report, life, port] if all(map(str.isdecimal, (index, report, life, port))):
            return Worker(int(index), int(report), int(life), int(port))
        case _:
            return None
