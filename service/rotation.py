"""Has each new connection to Kafka use what passwords and certificates are at that moment.

The client takes both when it is made, and makes connections with them for as long as it lives: to a
broker that was restarted, or after a while without a request.  Once they have been rotated it would
be refused by that one broker for ever, while the others, to which it is still connected, keep
everybody from seeing that it needs replacing.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

import structlog
from aiokafka import client

log = structlog.get_logger(__name__)

T = TypeVar("T")

PRIVATE_NAMES: Final = {"aiokafka.client": ("create_conn",)}
"""What is replaced, by module; a test pins it."""


class Rotating(Generic[T]):
    """An option of the client's that is read anew for each connection.

    Args:
        name: What it is, for the log.
        read: Reads it.

    Raises:
        OSError: If it cannot be read now.
    """

    def __init__(self, name: str, read: Callable[[], T]) -> None:
        self._name = name
        self._read = read
        self._last = read()

    def now(self) -> T:
        """What it is; what it was, while it cannot be read, as when a file is being replaced."""
        try:
            self._last = self._read()
        except OSError as exc:
            log.warning("not read anew, the last one is used", what=self._name, error=str(exc))
        return self._last


def read_for_each_connection() -> None:
    """Have every Kafka client of this process ask its :class:`Rotating` options each time."""
    module: Any = client
    connect: Callable[..., Awaitable[Any]] = module.create_conn
    if getattr(connect, "asks", False):
        return

    @functools.wraps(connect)
    async def connect_now(*arguments: Any, **options: Any) -> Any:
        for name, value in options.items():
            if isinstance(value, Rotating):
                options[name] = await asyncio.to_thread(value.now)  # it may be a slow disk
        return await connect(*arguments, **options)

    connect_now.asks = True  # type: ignore[attr-defined]
    module.create_conn = connect_now
