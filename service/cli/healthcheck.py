"""``headrace healthcheck``: is the service that runs beside us ready?

Standard library only and no more of it than needed: probes run every few seconds, and must not
cost more than what they watch.
"""

import argparse
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from service.cli.exit_codes import OK, TEMPORARY

FIRST_PROCESS = Path("/proc/1/cmdline")
"""Command line of what a container runs, each argument ended by a zero."""

DEFAULT_PORT = 8081

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- read from the configuration, not bound

_LAST_PORT = 65535

_ANSWERS = {b"200", b"503"}
"""What ``/readyz`` answers; whoever says anything else is not who was meant."""

_OURS = {"headrace", "service"}
"""How the service is called: by its script, or by ``python -m service``."""


def main(arguments: argparse.Namespace) -> int:
    """Ask ``/readyz``; 0 if it says ready, 75 with the reason if not.

    A container's probe is not told of the configuration that the service was started with.  Its
    files are looked at only if the default port is not the right one: to read them takes several
    times as long as to ask.
    """
    files: Sequence[Path] = arguments.config
    host, port = admin_address(files, os.environ)
    status, reason = _asked(host, port, arguments.timeout)
    if status not in _ANSWERS and not files and "HEADRACE_ADMIN__PORT" not in os.environ:
        files = files_of(_first_command_line())
        address = admin_address(files, os.environ) if files else (host, port)
        if address != (host, port):
            status, reason = _asked(*address, arguments.timeout)
    if status == b"200":
        return OK
    print(reason, file=sys.stderr)
    return TEMPORARY


def _asked(host: str, port: int, timeout_s: float) -> tuple[bytes, str]:
    """Status code and reason; no status if nobody answers."""
    try:
        status, reason = ask(host, port, timeout_s=timeout_s)
    except OSError as error:
        return b"", f"http://{host}:{port}/readyz: {error}"
    return status, reason.decode("utf-8", "replace")


def _first_command_line() -> list[str]:
    try:
        return FIRST_PROCESS.read_text(encoding="utf-8", errors="surrogateescape").split("\0")
    except OSError:
        return []  # no Linux


def files_of(command_line: Sequence[str]) -> list[Path]:
    """The configuration files of a command line that runs the service; none if it is another."""
    for place, (name, command) in enumerate(pairwise(command_line)):
        if command == "run" and name.rpartition("/")[2] in _OURS:
            parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
            parser.add_argument("--config", type=Path, action="append", default=[])
            try:
                files: list[Path] = parser.parse_known_args(command_line[place + 2 :])[0].config
            except argparse.ArgumentError:
                return []
            return files
    return []


def admin_address(files: Sequence[Path], environ: Mapping[str, str]) -> tuple[str, int]:
    """Where the admin port is: of the environment, else of the files, else the default.

    Raises:
        ConfigurationError: If the files or the environment name no port.
    """
    host, port = "127.0.0.1", DEFAULT_PORT
    if files or "HEADRACE_ADMIN" in environ:
        from service.settings import load_settings  # noqa: PLC0415 -- only when files are given

        admin = load_settings(files, environ).admin
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
