"""``headrace healthcheck``: is the service that runs beside us ready?

Standard library only and no more of it than needed: probes run every few seconds, and must not
cost more than what they watch.
"""

import argparse
import os
import socket
import sys
from collections.abc import Mapping

from service.cli.exit_codes import OK, TEMPORARY

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- read from the configuration, not bound

_LAST_PORT = 65535


def main(arguments: argparse.Namespace) -> int:
    """Ask ``/readyz``; 0 if it says ready, 75 with the reason if not."""
    host, port = admin_address(arguments, os.environ)
    try:
        status, reason = ask(host, port, timeout_s=arguments.timeout)
    except OSError as error:
        print(f"http://{host}:{port}/readyz: {error}", file=sys.stderr)
        return TEMPORARY
    if status == b"200":
        return OK
    print(reason.decode("utf-8", "replace"), file=sys.stderr)
    return TEMPORARY


def admin_address(arguments: argparse.Namespace, environ: Mapping[str, str]) -> tuple[str, int]:
    """Where the admin port is: of the environment, else of the files, else the default.

    Raises:
        ConfigurationError: If the files or the environment name no port.
    """
    host, port = "127.0.0.1", 8081
    if arguments.config or "HEADRACE_ADMIN" in environ:
        from service.settings import load_settings  # noqa: PLC0415 -- only when files are given

        admin = load_settings(arguments.config, environ).admin
        host, port = admin.host, admin.port
    host = environ.get("HEADRACE_ADMIN__HOST", host)
    text = environ.get("HEADRACE_ADMIN__PORT", str(port))
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= _LAST_PORT):
        from service.errors import ConfigurationError  # noqa: PLC0415 -- only when it is wrong

        raise ConfigurationError([f"HEADRACE_ADMIN__PORT: {text!r} is no port to ask"])
    port = int(text)
    return _EVERYWHERE.get(host, host), port


def ask(host: str, port: int, *, timeout_s: float) -> tuple[bytes, bytes]:
    """Status code and body of ``GET /readyz``.

    Raises:
        OSError: If nothing answers within ``timeout_s`` for a step.
    """
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while len(answer) < 65536:  # noqa: PLR2004 -- far above any answer of ours
            part = connection.recv(4096)
            if not part:
                break
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return head[9:12], body.strip()
