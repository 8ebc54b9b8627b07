"""Says what it most likely means when a broker hangs up although TLS was agreed on.

Since TLS 1.3 a client takes the connection for made before the broker has looked at its
certificate.  One that refuses it, or misses it, just closes, and the client tells that a
connection was closed.
"""

import functools
from asyncio import IncompleteReadError
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import client
from aiokafka.errors import KafkaConnectionError


class HungUpError(KafkaConnectionError):  # type: ignore[misc]  # the client has no types
    """A broker has closed a connection with TLS without an answer to the first question."""

    def __str__(self) -> str:
        """What it most likely means."""
        return (
            "the broker hung up once TLS was agreed on: unless it is being stopped, it most likely "
            "refuses the client certificate, or wants one (kafka.ssl_certfile, kafka.ssl_keyfile)"
        )


def tell_of_refused_certificates() -> None:
    """Have every Kafka client of this process say so."""
    module: Any = client
    connect: Callable[..., Awaitable[Any]] = module.create_conn
    if getattr(connect, "tells", False):
        return

    @functools.wraps(connect)
    async def connect_and_tell(*arguments: Any, **options: Any) -> Any:
        try:
            return await connect(*arguments, **options)
        except KafkaConnectionError as exc:
            encrypted = options.get("security_protocol") in {"SSL", "SASL_SSL"}
            if encrypted and isinstance(exc.__cause__, IncompleteReadError | OSError):
                raise HungUpError from exc
            raise

    connect_and_tell.tells = True  # type: ignore[attr-defined]
    module.create_conn = connect_and_tell
