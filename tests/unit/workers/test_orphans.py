"""Ended children of nobody are let go of, and those of somebody are left to it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from service.workers.orphans import reap_orphans


@contextmanager
def _ended(code: int) -> Iterator[int]:
    """A child that has ended with ``code``, for which nobody has waited."""
    with subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"]) as child:  # noqa: S603 -- Python itself
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        yield child.pid


def _children_ended() -> bool:
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def test_every_orphan_that_has_ended_is_let_go_of() -> None:
    with _ended(0), _ended(3):
        reap_orphans(())

        assert not _children_ended()


def test_how_one_of_ours_has_ended_is_left_for_its_owner() -> None:
    with _ended(3) as ours:
        reap_orphans({ours})

        assert os.waitstatus_to_exitcode(os.waitpid(ours, 0)[1]) == 3
