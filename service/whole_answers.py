"""Has a Kafka client read answers into a buffer of ours, and wakes its reader once for each.

The client reads through asyncio's ``StreamReader``, which appends what a read of the socket brings
to a buffer, wakes whoever waits, and in the end copies an answer out.  A fetched answer of a
megabyte comes in many reads: each is an object of its own, copied once more, and a turn of the
loop for nothing.  Here the socket writes straight to its place, and an answer is copied out once,
when all of it is there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final
from weakref import WeakSet

PRIVATE_NAMES: Final = {
    "AIOKafkaClient": ("_get_conn",),
    "AIOKafkaConnection": ("_reader", "_writer", "_protocol"),
    "StreamReader": ("_buffer", "_eof", "_exception", "_paused", "_maybe_resume_transport"),
}
"""What is used of the client and of asyncio; a test pins it."""

SMALL_BYTES: Final = 64 * 1024
"""Size of a buffer to begin with, and the room behind a large answer."""
KEPT_BYTES: Final = 1536 * 1024
"""Largest buffer that is kept: an answer to a fetch of the usual size fits."""


def read_whole_answers(client: Any) -> None:
    """Have connections of ``client`` read answers as a whole.

    Args:
        client: An ``AIOKafkaClient``; one without the names that we know is left as it is.
    """
    connect: Callable[..., Awaitable[Any]] | None = getattr(client, "_get_conn", None)
    if connect is None:
        return
    known: WeakSet[Any] = WeakSet()

    async def get_connection(*arguments: Any, **options: Any) -> Any:
        connection = await connect(*arguments, **options)
        if connection is not None and connection not in known:
            known.add(connection)
            _take_over(connection)
        return connection

    client._get_conn = get_connection  # noqa: SLF001 -- see PRIVATE_NAMES


def _take_over(connection: Any) -> None:
    """Put our reader between the socket and ``connection``, which may be reading."""
    reader, writer, protocol = (
        getattr(connection, name, None) for name in PRIVATE_NAMES["AIOKafkaConnection"]
    )
    if reader is None or writer is None or protocol is None:
        return
    transport = writer.transport
    known = all(hasattr(reader, name) for name in PRIVATE_NAMES["StreamReader"])
    if not known or reader._paused or transport.is_closing():  # noqa: SLF001
        return
    answers = WholeAnswers(reader, protocol)
    # how a transport reads is decided when reading begins
    transport.pause_reading()
    transport.set_protocol(answers)
    transport.resume_reading()
    reader.readexactly = answers.readexactly


class WholeAnswers(asyncio.BufferedProtocol):
    """Between a socket and a stream reader, whose :meth:`readexactly` it replaces.

    Args:
        reader: The stream reader.  What it is waiting for when we come, it still gets; what is
            left in it then is taken from there.
        inner: The protocol so far; told of everything but data.
    """

    def __init__(self, reader: Any, inner: Any) -> None:
        self._reader: Any = reader
        self._inner = inner
        self._loop = asyncio.get_running_loop()
        self._view = memoryview(bytearray(SMALL_BYTES))
        self._start = 0
        self._end = 0
        self._needed = 1
        self._waiter: asyncio.Future[None] | None = None
        self._taken_over = False

    async def readexactly(self, n: int) -> bytes:
        """The next ``n`` bytes.  Cancel safe: then none is lost.

        Raises:
            asyncio.IncompleteReadError: If the connection ends before.
            ValueError: If ``n`` is negative, as the size of an answer is that is none.
        """
        if n < 0:
            raise ValueError(f"cannot read {n} bytes")
        if not self._taken_over:
            self._take_rest()
        while self._end - self._start < n:
            if self._reader._exception is not None:  # noqa: SLF001
                raise self._reader._exception  # noqa: SLF001
            if self._reader._eof:  # noqa: SLF001
                raise asyncio.IncompleteReadError(bytes(self._view[self._start : self._end]), n)
            self._needed = n
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        start = self._start
        data = bytes(self._view[start : start + n])
        self._start = start + n
        if self._start == self._end:
            self._start = self._end = 0
            if len(self._view) > KEPT_BYTES:
                self._view = memoryview(bytearray(SMALL_BYTES))
        return data

    def _take_rest(self) -> None:
        """Take what the reader has left; from now on it gets nothing more."""
        self._taken_over = True
        left: bytearray = self._reader._buffer  # noqa: SLF001
        if left:
            self._view = memoryview(left + bytes(SMALL_BYTES))
            self._end = len(left)
            left.clear()
            self._reader._maybe_resume_transport()  # noqa: SLF001

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what comes."""
        del sizehint
        if self._end == len(self._view) or (
            self._start + min(self._needed, KEPT_BYTES) > len(self._view)
        ):
            self._make_room()
        return self._view[self._end :]

    def _make_room(self) -> None:
        """Move what is held to the front of a buffer that has room behind it.

        Beyond the usual size it grows with what comes, not with what was announced: bytes that
        are no answer may announce gigabytes.
        """
        held = self._view[self._start : self._end]
        announced = min(self._needed, max(KEPT_BYTES - SMALL_BYTES, 2 * len(held)))
        enough = max(announced, len(held)) + SMALL_BYTES
        view = self._view if enough <= len(self._view) else memoryview(bytearray(enough))
        view[: len(held)] = held
        self._view, self._start, self._end = view, 0, len(held)

    def buffer_updated(self, nbytes: int) -> None:
        """``nbytes`` have come."""
        self._end += nbytes
        if not self._taken_over:
            data = bytes(self._view[: self._end])
            self._end = 0
            self._reader.feed_data(data)
        elif self._end - self._start >= self._needed:
            self._wake()

    def eof_received(self) -> bool | None:
        """The peer sends nothing more."""
        keep: bool | None = self._inner.eof_received()
        self._wake()
        return keep

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; what has come of it can still be read."""
        self._inner.connection_lost(exc)
        if self._start == self._end:
            # reader and buffer refer to each other, and the cycle collector looks seldom
            self._view, self._start, self._end = memoryview(b""), 0, 0
        self._wake()

    def pause_writing(self) -> None:
        """The transport has enough to write."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The transport takes more."""
        self._inner.resume_writing()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
