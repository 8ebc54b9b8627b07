"""The other side of `service.handlers.processes`: one handler in a process of its own.

:func:`main` reads framed pickles from standard input and
answers each on what was standard output.  What the handler prints goes to standard error, so it
cannot break the framing.  Ends when its input does, and so never outlives its parent for long.
"""

import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, BinaryIO, Final, NamedTuple

from service.delivery.failures import describe
from service.delivery.retry import decisive
from service.errors import (
    ConfigurationError,
    FatalError,
    HandlerFailedError,
    PermanentError,
    TransientError,
    code_of,
    words_of,
)
from service.events import Event, Headers, RecordBatch, SourceRecord
from service.handlers.results import MAX_RESULTS

FRAME_HEADER_BYTES: Final = 4
NICENESS: Final = 10
"""How far a handler's process stands back for the event loop, which has heartbeats to send."""


class Setup(NamedTuple):
    """The first frame: which handler this process is."""

    path: list[str]
    use: str
    options: Mapping[str, Any]
    name: str


class _Arrived(RecordBatch):
    """The batch of one event from another process."""

    __slots__ = ("id",)

    id: int | str

    def record_id(self, index: int) -> int | str:
        del index
        return self.id


class Portable(NamedTuple):
    """An event without its batch; the raw value stays behind, as it was decoded already."""

    data: Any
    key: bytes | None
    timestamp: int
    type: str | None
    headers: Headers
    topic: str
    partition: int
    offset: int
    record_id: int | str
    attempts: int

    @classmethod
    def of(cls, event: Event) -> "Portable":
        """What another process needs to know of ``event``."""
        return cls(
            event.data,
            event.key,
            event.timestamp,
            event.type,
            tuple(event.headers),
            event.topic,
            event.partition,
            event.offset,
            event.record_id,
            event.attempts,
        )

    def event(self) -> Event:
        """The event again, in a batch of its own."""
        record = SourceRecord(None, key=self.key, offset=self.offset, timestamp=self.timestamp)
        batch = _Arrived(self.topic, self.partition, [record], next_offset=self.offset + 1)
        batch.id = self.record_id
        return Event(
            self.data,
            key=self.key,
            timestamp=self.timestamp,
            type=self.type,
            headers=self.headers,
            batch=batch,
            attempts=self.attempts,
        )


class Reply(NamedTuple):
    """What became of a call: a value, or an error by its class of reaction.

    Errors do not travel as exceptions, because an exception with arguments of its own does not
    always survive the journey.
    """

    kind: str
    """``value``, ``transient``, ``permanent``, ``fatal`` or ``unexpected``."""
    value: Any = None
    message: str = ""
    code: str = ""
    retry_after_s: float | None = None

    def unwrap(self) -> Any:
        """The value.

        Raises:
            TransientError: If the handler raised one.
            PermanentError: If the handler raised one; it has the same code.
            FatalError: If the handler raised one.
            HandlerFailedError: If it raised anything else.
        """
        if self.kind == "value":
            return self.value
        if self.kind == "transient":
            raise TransientError(self.message, retry_after_s=self.retry_after_s)
        if self.kind == "permanent":
            error = PermanentError(self.message)
            error.code = self.code  # type: ignore[misc]  # the class's default, for this one error
            raise error
        if self.kind == "fatal":
            raise FatalError(self.message)
        raise HandlerFailedError(self.message)


def answer(call: Callable[[Event], Any], request: Portable) -> bytes:
    """The framed reply to one call."""
    try:
        value = call(request.event())
        if isinstance(value, Iterator):  # read here, as it cannot leave the process
            value = list(islice(value, MAX_RESULTS + 1))
        reply = Reply("value", value)
    except Exception as error:  # noqa: BLE001 -- the task boundary of this process
        reply = _reply_to(decisive(error))
    try:
        return frame(reply)
    except Exception as error:  # noqa: BLE001 -- pickle raises whatever the value's class raises
        message = f"the handler's result cannot leave its process: {error}"
        return frame(Reply("permanent", message=message, code="handler"))


def _reply_to(error: Exception) -> Reply:
    if isinstance(error, TransientError):
        asked_s = getattr(error, "retry_after_s", None)  # not of a subclass that forgot our own
        return Reply("transient", message=words_of(error), retry_after_s=asked_s)
    if isinstance(error, PermanentError):
        return Reply("permanent", message=words_of(error), code=code_of(error))
    if isinstance(error, FatalError):
        return Reply("fatal", message=words_of(error))
    return Reply("unexpected", message=describe(error))


def frame(value: Any) -> bytes:
    """``value`` as a frame."""
    body = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return len(body).to_bytes(FRAME_HEADER_BYTES, "big") + body


def _read(stream: BinaryIO) -> Any:
    """The next frame's value, or ``None`` at the end."""
    header = stream.read(FRAME_HEADER_BYTES)
    if len(header) < FRAME_HEADER_BYTES:
        return None
    body = stream.read(int.from_bytes(header, "big"))
    return pickle.loads(body)  # noqa: S301 -- from our own parent, through a pipe


def _handler(setup: Setup) -> Callable[[Event], Any]:
    from service.handlers.registry import load_handler  # noqa: PLC0415 -- after sys.path is set

    spec = load_handler(setup.use)
    return replace(spec, run_in="loop", is_async=False).bind(setup.options, name=setup.name).call


def main() -> int:
    """Serve until the input ends."""
    requests = sys.stdin.buffer
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    setup: Setup = _read(requests)
    sys.path[:] = setup.path
    os.nice(NICENESS)
    try:
        call = _handler(setup)
    except ConfigurationError as error:
        replies.write(frame(Reply("unexpected", message=str(error))))
        return os.EX_CONFIG
    replies.write(frame(Reply("value")))
    while (request := _read(requests)) is not None:
        replies.write(answer(call, request))
    return os.EX_OK
