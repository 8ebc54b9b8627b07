"""A child process that never outlives its parent, however the parent ends.

Knows nothing of what the child is.  The kernel closes a dead process's pipes, also after
SIGKILL, so a shell that waits for the end of its input is all it takes, on every Unix.  (Linux
alone could do without the shell, by ``PR_SET_PDEATHSIG``, which follows the *thread* that
started the child.)
"""

from collections.abc import Sequence

_SCRIPT = """
exec 3<&0 </dev/null
"$@" 3<&- &
child=$!
trap 'kill -TERM "$child"' TERM INT
(
    trap - TERM INT
    read -r _ <&3
    kill -TERM "$child"; sleep 5; kill -KILL "$child"
) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait "$child"; status=$?
while kill -0 "$child" 2>/dev/null; do wait "$child"; status=$?; done
kill -KILL "$watcher" 2>/dev/null
exit "$status"
"""


def guarded(argv: Sequence[str]) -> list[str]:
    """The command line that runs ``argv`` and ends it when its own standard input ends.

    Start it with a pipe as standard input (``subprocess.PIPE``), write nothing, and close the
    pipe when the child may end; a parent that dies closes it too.  The child itself reads from
    ``/dev/null``.  SIGTERM to the returned command is passed on to the child; its exit status is
    the child's.

    Args:
        argv: Program and arguments, the program found on the PATH.
    """
    return ["/bin/sh", "-c", _SCRIPT, "guard", *argv]
