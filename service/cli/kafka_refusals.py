"""At which step a connection to a broker ended: name, connection, TLS, authentication or answer.

The client tries one address after the other, logs what each of them said, and raises an error that
has none of it.
"""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from service.refused_certificates import HungUpError

LOGGER: Final = "aiokafka"
"""Whose errors have an address, a port and an exception; a test pins it."""

_AUTHENTICATION = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
_ADDRESS_PORT_ERROR = 3


@contextmanager
def refusals() -> Generator[list[str]]:
    """A list that gets a line for each address that the client gives up in the block."""
    logger = logging.getLogger(LOGGER)
    handler = _Collector()
    level = logger.level
    logger.setLevel(logging.WARNING)
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield handler.lines
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Collector(logging.Handler):
    """Collects what is said of addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        arguments: Any = record.args
        if isinstance(arguments, tuple) and len(arguments) == _ADDRESS_PORT_ERROR:
            host, port, error = arguments
            if isinstance(error, Exception):
                self.lines.append(f"{host}:{port}: {step_of(error)}")


def step_of(error: Exception) -> str:
    """The step that ``error`` ended, and what was wrong there."""
    if isinstance(error, _AUTHENTICATION):
        return f"authentication: {error}"
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return "connection: no answer in time"
    if isinstance(error, socket.gaierror):
        return f"name: {error.strerror}"
    if isinstance(error, ssl.SSLError | HungUpError):
        return f"TLS: {getattr(error, 'strerror', None) or error}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"connection: {os.strerror(error.errno)}"
    return (
        f"no answer of a Kafka broker ({str(error) or type(error).__name__}): is it the right "
        "port, and kafka.security_protocol what this listener speaks?"
    )
