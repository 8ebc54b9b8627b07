"""What the first process of a container owes to those whose own parent has died.

The kernel hands them to it, and what has ended of them keeps its place in the table of processes,
which a pod's limit counts, until it is asked how it ended.
"""

import os
from collections.abc import Collection


def reap_orphans(ours: Collection[int]) -> None:
    """Let go of every ended child that is not one of ``ours``, for which somebody waits.

    Behind one of ``ours`` that has ended, and is not yet waited for, the rest is left for the next
    call.
    """
    try:
        # WNOWAIT: how one of ours has ended must be left for its owner to read
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid in ours:
                return
            os.waitpid(ended.si_pid, 0)
    except ChildProcessError:
        return  # no child is left
