"""Reaches a broker's name at whichever of its addresses answers.

A name of brokers often stands for several: those of a headless Service, or of a hosted cluster.
The event loop tries them one after the other and waits for each until the system gives up, which
takes two minutes where nobody refuses.  The connection is given up long before, and the next
attempt begins with the same address: a client whose first address is a machine that is gone would
never come to the others.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

from aiokafka import conn

PRIVATE_NAMES: Final = {"aiokafka.conn": ("get_running_loop",)}
"""What is replaced, by module; a test pins it."""

STAGGER_S: Final = 0.25
"""How long an address may be silent before the next one is tried beside it (RFC 8305, 5)."""

Found: TypeAlias = tuple[Any, ...]
"""What ``getaddrinfo`` says of one address."""


def try_every_address() -> None:
    """Have every Kafka client of this process do so."""
    module: Any = conn
    running_loop: Callable[[], asyncio.AbstractEventLoop] = module.get_running_loop
    if getattr(running_loop, "tries_every_address", False):
        return

    def loop_for_connections() -> "_Loop":
        return _Loop(running_loop())

    loop_for_connections.tries_every_address = True  # type: ignore[attr-defined]
    module.get_running_loop = loop_for_connections


class _Loop:
    """The event loop, as connections use it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.create_future = loop.create_future  # for each request

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int, *, ssl: Any = None
    ) -> Any:
        """As the loop's own, with the addresses of ``host`` beside each other."""
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        sock = await first_to_answer(found, self._connect)
        server_hostname = None if ssl is None else host
        return await self._loop.create_connection(
            factory, sock=sock, ssl=ssl, server_hostname=server_hostname
        )

    async def _connect(self, found: Found) -> socket.socket:
        family, kind, protocol, _, address = found
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(0)  # as the loop needs it
            await self._loop.sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return sock


async def first_to_answer(
    addresses: Sequence[Found], connect: Callable[[Found], Awaitable[socket.socket]]
) -> socket.socket:
    """Connect to one of ``addresses``: to the next when one fails, or is silent for a while.

    Cancel safety: no connection is left open.

    Args:
        addresses: At least one, the best first.
        connect: Connects to one; raises ``OSError``.

    Raises:
        OSError: What the first of them said, if none can be connected to.
    """
    made: list[socket.socket] = []
    errors: dict[int, OSError] = {}
    answered = asyncio.Event()

    async def attempt(place: int) -> None:
        try:
            made.append(await connect(addresses[place]))
        except OSError as error:
            errors[place] = error
        answered.set()

    try:
        async with asyncio.TaskGroup() as tasks:
            trying: list[asyncio.Task[None]] = []
            while not made and len(errors) < len(addresses):
                if len(trying) < len(addresses):
                    trying.append(tasks.create_task(attempt(len(trying)), name="connect"))
                answered.clear()
                more = len(trying) < len(addresses)
                await _set_within(answered, STAGGER_S if more else None)
            for task in trying:
                task.cancel()
    except BaseException:
        for sock in made:
            sock.close()
        raise
    for spare in made[1:]:
        spare.close()
    if not made:
        raise errors[0]
    return made[0]


async def _set_within(event: asyncio.Event, timeout_s: float | None) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
