"""What a parent tells a worker, and how the worker answers."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

WORKER_VARIABLE: Final = "_HEADRACE_WORKER"
"""Set by the parent for its workers: ``index:file descriptor``.  Not a setting."""


@dataclass(frozen=True, slots=True)
class Worker:
    """This process is worker number ``index`` of a parent.

    Attributes:
        index: From 0.
        report_fd: Where the parent waits for the worker's admin port.
    """

    index: int
    report_fd: int

    def report(self, admin_port: int) -> None:
        """Tell the parent where to ask."""
        os.write(self.report_fd, b"%d\n" % admin_port)
        os.close(self.report_fd)


def this_worker(environ: Mapping[str, str]) -> Worker | None:
    """Which worker this process is; ``None`` for a process of its own."""
    text = environ.get(WORKER_VARIABLE, "")
    index, _, descriptor = text.partition(":")
    if not (index.isdecimal() and descriptor.isdecimal()):
        return None
    return Worker(int(index), int(descriptor))
