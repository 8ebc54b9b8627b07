"""Catches the event loop blocked and says in what.

A thread looks at the board's heartbeat.  When the loop has not turned for a while, the stack of
its thread is what blocks it: logged once per incident, kept for ``/status`` while it lasts.
"""

import sys
import threading
import traceback

import structlog

from service.health.board import StatusBoard

BLOCKED_S = 1.0
"""A loop that turns later than this is blocked: a handler computes or waits synchronously."""

_LOOK_S = 0.25
_STACK_LIMIT = 30

_log = structlog.get_logger(__name__)


class LoopWatchdog:
    """Watches the loop of the thread that makes it.

    Args:
        board: Whose heartbeat to watch.

    Attributes:
        incidents: How often the loop was found blocked.
        blocked_in: Innermost frame while the loop is blocked: ``file:line in function``.
    """

    def __init__(self, board: StatusBoard) -> None:
        self._board = board
        self._loop_thread = threading.get_ident()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loop-watchdog", daemon=True)
        self.incidents = 0
        self.blocked_in: str | None = None

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking; returns when the thread has ended."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            self.look()

    def look(self) -> None:
        """Compare the heartbeat with the clock, once."""
        age_s = self._board.age_s()
        if age_s <= BLOCKED_S:
            if self.blocked_in is not None:
                self.blocked_in = None
                _log.warning("event loop turns again", lag_s=round(self._board.loop_lag_s(), 3))
            return
        frames = sys._current_frames()  # noqa: SLF001 -- documented, and made for this
        stack = traceback.extract_stack(frames.get(self._loop_thread), limit=_STACK_LIMIT)
        innermost = stack[-1]
        first = self.blocked_in is None
        self.blocked_in = f"{innermost.filename}:{innermost.lineno} in {innermost.name}"
        if first:
            self.incidents += 1
            _log.error(
                "event loop blocked",
                blocked_s=round(age_s, 3),
                blocked_in=self.blocked_in,
                stack="".join(traceback.format_list(stack)),
            )
