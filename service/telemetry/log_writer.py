"""Writes log lines from a thread, so that a blocked pipe never blocks whoever logs.

The queue between is bounded in lines and bytes; what does not fit is dropped and counted, and
the count is logged once lines flow again.  What a line says is not known here.
"""

import os
import queue
import threading
import time
from collections.abc import Callable

MAX_LINES = 10_000
MAX_QUEUE_BYTES = 4 * 1024 * 1024
"""Bounds of what waits to be written."""

_WRITE_AT_ONCE_BYTES = 64 * 1024


class LogWriter:
    """Appends lines to a file descriptor.

    Args:
        fd: Where to write, 2 for standard error.
        dropped_line: Makes the line that tells how many lines were dropped.

    Attributes:
        dropped: Lines dropped so far.
    """

    def __init__(self, fd: int, *, dropped_line: Callable[[int], bytes]) -> None:
        self._fd = fd
        self._dropped_line = dropped_line
        # SimpleQueue and not a lock of our own: put() is safe from signal handlers too.
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._put_bytes = 0
        self._taken_bytes = 0
        self._told = 0
        self._closing = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Queue ``line``, newline included, or drop it; never waits.

        The bound is kept without a lock: writers that race can pass it by a line each.
        """
        waiting_bytes = self._put_bytes - self._taken_bytes
        if self._lines.qsize() >= MAX_LINES or waiting_bytes + len(line) > MAX_QUEUE_BYTES:
            self.dropped += 1
            return
        self._put_bytes += len(line)
        self._lines.put(line)

    def close(self, deadline_s: float = 1.0) -> bool:
        """Write what is queued, for at most ``deadline_s`` seconds.

        Returns:
            Whether everything was written; a blocked pipe is left to its fate.
        """
        if not self._closing:
            self._closing = True
            self._lines.put(None)
        self._thread.join(deadline_s)
        return not self._thread.is_alive()

    def flush(self, deadline_s: float = 1.0) -> bool:
        """Wait until what was queued before is written, for at most ``deadline_s`` seconds."""
        goal_bytes, until_s = self._put_bytes, time.monotonic() + deadline_s
        while self._taken_bytes < goal_bytes:
            if time.monotonic() >= until_s or not self._thread.is_alive():
                return False
            time.sleep(0.001)
        return True

    def _run(self) -> None:
        while True:
            chunk, ended = self._next_chunk()
            try:
                self._write_all(chunk)
            except OSError:
                # The reader is gone for good: count, and do not try to tell it so.
                lost = chunk.count(b"\n")
                self.dropped += lost
                self._told += lost
            self._taken_bytes += len(chunk)
            if ended:
                return
            self._tell_dropped()

    def _next_chunk(self) -> tuple[bytes, bool]:
        """Lines to write together, and whether they are the last."""
        lines: list[bytes] = []
        size_bytes = 0
        line = self._lines.get()
        while line is not None:
            lines.append(line)
            size_bytes += len(line)
            if size_bytes >= _WRITE_AT_ONCE_BYTES:
                break
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                break
        return b"".join(lines), line is None

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                # Somebody made the descriptor non-blocking (a shell, a child): wait our turn.
                time.sleep(0.01)

    def _tell_dropped(self) -> None:
        missing = self.dropped - self._told
        if missing and self._lines.empty():
            self._told += missing
            self.write(self._dropped_line(missing))
