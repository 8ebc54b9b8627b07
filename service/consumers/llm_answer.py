"""From the bytes of a streamed answer to its pieces.  Pure."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import orjson

from service.errors import ServiceError

LINE_MAX_BYTES: Final = 1024 * 1024
"""A server-sent event of more is no token."""


class Piece(NamedTuple):
    """A part of an answer."""

    delta: str
    done: bool


END: Final = Piece("", done=True)


class StreamBrokenError(ServiceError):
    """The server broke a stream off, is busy, or spoke nonsense; it may be asked again.

    Args:
        message: What happened.
        retry_after_s: Least wait before that, in seconds, if the server named one.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServerSentEvents:
    """Bytes in any chunks to the ``data`` of whole events (WHATWG HTML, 9.2.6).

    Only ``data`` counts here; comments, names, ids and retry hints are skipped.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that ``chunk`` completes.

        Raises:
            StreamBrokenError: If a line or an event grows beyond :data:`LINE_MAX_BYTES`.
        """
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LINE_MAX_BYTES:
            raise StreamBrokenError("a line without an end")
        events: list[bytes] = []
        for line in lines:
            text = line.rstrip(b"\r")
            if text.startswith(b"data:"):
                self._data.append(text[5:].removeprefix(b" "))
                self._data_bytes += len(text)
                if self._data_bytes > LINE_MAX_BYTES:
                    raise StreamBrokenError("an event without an end")
            elif not text and self._data:
                events.append(b"\n".join(self._data))
                self._data, self._data_bytes = [], 0
        return events


class Completion:
    """The pieces of one answer, from its events.

    Attributes:
        finished: Whether it has said why it ends.  Not every server says ``[DONE]`` behind that, or
            even ends the stream, and to ask those again would have no end.
    """

    def __init__(self) -> None:
        self.finished = False

    def pieces(self, events: Sequence[bytes]) -> Iterator[Piece]:
        """The tokens in ``events``; stops behind the one that ends the answer.

        Raises:
            StreamBrokenError: If one of them is something else.
        """
        for event in events:
            if event == b"[DONE]":
                yield END
                return
            try:
                choices: Any = orjson.loads(event)["choices"]
                delta = choices[0]["delta"].get("content") if choices else None
                self.finished |= bool(choices and choices[0].get("finish_reason"))
            except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
                raise StreamBrokenError("an event that is no completion") from None
            if isinstance(delta, str) and delta:
                yield Piece(delta, done=False)
