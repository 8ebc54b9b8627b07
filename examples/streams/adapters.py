"""The three ways to make a stream of a channel, on the same task: bytes in, lines out.

Prints::

    by hand: ['first', 'second', 'third']
    ReceiverStream: ['first', 'second', 'third']
    generator: ['first', 'second', 'third']
"""

import asyncio
from collections.abc import AsyncIterator

from service import streams
from service.channels import Receiver, channel
from service.streams import ReceiverStream, Stage, Stream


class Lines(Stage[str]):
    """Cuts what a channel of bytes delivers into lines; the rest of a line waits for its end."""

    def __init__(self, receiver: Receiver[bytes]) -> None:
        super().__init__()
        self._receiver = receiver
        self._rest = b""

    async def _pull(self, limit: int) -> list[str] | None:
        while b"\n" not in self._rest:
            received: list[bytes] = []
            if not await self._receiver.recv_many(received, 64):
                return None
            # No await between taking the bytes and keeping them: a cancel finds them in a field.
            self._rest += b"".join(received)
        *lines, self._rest = self._rest.split(b"\n", limit)
        return [line.decode() for line in lines]

    async def _release(self) -> None:
        await self._receiver.aclose()


def split_lines(pieces: list[bytes]) -> list[str]:
    """Cut pieces that hold whole lines; no state, so a sync function of a chunk is enough."""
    return b"".join(pieces).decode().splitlines()


@streams.stream
async def lines(receiver: Receiver[bytes]) -> AsyncIterator[str]:
    """The same as ``Lines``, as a generator: the state is where the code stands."""
    rest = b""
    async with receiver:
        async for piece in receiver:
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line.decode()


async def filled(*pieces: bytes) -> Receiver[bytes]:
    """A channel that holds ``pieces`` and that nobody sends to any more."""
    sender, receiver = channel[bytes](8)
    async with sender:
        await sender.send_many(pieces)
    return receiver


async def main() -> None:
    """Read the same lines in three ways."""
    by_hand = Stream(Lines(await filled(b"first\nsec", b"ond\nthi", b"rd\n")))
    print("by hand:", await by_hand.collect())

    ready_made = ReceiverStream(await filled(b"first\nsecond\n", b"third\n"))
    print("ReceiverStream:", await ready_made.map_chunks(split_lines).collect())

    generator = lines(await filled(b"first\nsec", b"ond\nthi", b"rd\n"))
    print("generator:", await generator.collect())


if __name__ == "__main__":
    asyncio.run(main())
