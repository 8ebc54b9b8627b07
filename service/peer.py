"""What the edges need of one WebSocket, whoever implements it.

The server implements :class:`Peer` over a real socket, tests with a list.  Writing never waits
and is the caller's to bound: write only while :attr:`Peer.writable`, or after :meth:`Peer.ready`.
"""

from collections.abc import AsyncIterator
from enum import IntEnum
from typing import Protocol

from service.errors import ServiceError


class CloseCode(IntEnum):
    """Why a connection is closed, as the client is told."""

    RESTART = 1012
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    TOO_SLOW = 4408
    TOO_MANY = 4429


class PeerGoneError(ServiceError):
    """The connection is closed or was cut."""


class Peer(Protocol):
    """One open WebSocket connection."""

    @property
    def writable(self) -> bool:
        """Whether it is open and the socket has taken everything written so far."""
        ...

    @property
    def gone(self) -> bool:
        """Whether it is closed or closing: what is written reaches nobody any more."""
        ...

    def write(self, frames: bytes) -> None:
        """Write whole frames, as :func:`text_frame` makes them; ignored once closed."""
        ...

    async def ready(self) -> None:
        """Wait until :attr:`writable`.  Cancel safe.

        Raises:
            PeerGoneError: If the connection is closed first.
        """
        ...

    def close_soon(self, code: CloseCode, reason: str) -> None:
        """Say why and close, without waiting; a peer that does not answer is cut."""
        ...

    def messages(self) -> AsyncIterator[str | bytes]:
        """What the client sends, text or binary; ends when the connection does.

        The socket is not read while the caller does not iterate, beyond a few messages.
        """
        ...


_TEXT = 0x81
"""First byte of an unfragmented text frame (RFC 6455, 5.2)."""


def text_frame(payload: bytes) -> bytes:
    r"""``payload`` (UTF-8) as one text frame from a server, which does not mask (RFC 6455, 5.1).

    The same bytes can be written to any number of clients.

    >>> text_frame(b"{}")
    b'\x81\x02{}'
    """
    length = len(payload)
    if length < 126:  # noqa: PLR2004 -- the three length forms of RFC 6455, 5.2
        header = bytes((_TEXT, length))
    elif length < 65536:  # noqa: PLR2004
        header = bytes((_TEXT, 126)) + length.to_bytes(2)
    else:
        header = bytes((_TEXT, 127)) + length.to_bytes(8)
    return header + payload
