"""A child process that never outlives its parent, however the parent ends.

Knows nothing of what the child is.  The kernel closes a dead process's pipes, also after
SIGKILL, so a shell that waits for the end of one is all it takes, on every Unix.  (Linux alone
could do without the shell, by ``PR_SET_PDEATHSIG``, which follows the *thread* that started the
child.)
"""

from collections.abc import Sequence

_SCRIPT = """
pipe=$1; shift
"$@" &
child=$!
trap 'kill -TERM "$child"' TERM INT
(trap - TERM INT; eval "read -r _ <&$pipe"; kill -TERM "$child"; sleep 5; kill -KILL "$child") \
    >/dev/null 2>&1 &
watcher=$!
wait "$child"; status=$?
while kill -0 "$child" 2>/dev/null; do wait "$child"; status=$?; done
kill -KILL "$watcher" 2>/dev/null
exit "$status"
"""


def guarded(argv: Sequence[str], pipe: int) -> list[str]:
    """The command line that runs ``argv`` and ends it when the pipe's last writer is gone.

    The caller passes the descriptor on (``pass_fds``), closes its own copy of it, and keeps the
    writing end for as long as the child shall live.  SIGTERM to the returned command is passed
    on to the child; its exit status is the child's.

    Args:
        argv: Program and arguments, the program found on the PATH.
        pipe: Reading end of a pipe that nothing is ever written to.
    """
    return ["/bin/sh", "-c", _SCRIPT, "guard", str(pipe), *argv]
