"""OTLP collectors for the telemetry jobs: one that answers, a slow one, one that hangs."""

import socket
import threading
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

SLOW_S: Final = 5.0
"""How long the slow collector takes to answer: half of what an exporter waits by default."""


class _Accepting(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read the request and say that it was taken."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""
        del args


class _Slow(_Accepting):
    def do_POST(self) -> None:
        """Let the exporter wait before it is told."""
        time.sleep(SLOW_S)
        super().do_POST()


@cache
def accepting() -> str:
    """URL of a collector that answers; made on first use, for the life of this process."""
    return _serving(_Accepting)


@cache
def slow() -> str:
    """URL of a collector that answers after :data:`SLOW_S`."""
    return _serving(_Slow)


def _serving(handler: type[BaseHTTPRequestHandler]) -> str:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


@cache
def hanging() -> str:
    """URL of a collector that never answers: its connections are made and nothing is read."""
    port: int = _hung_socket().getsockname()[1]
    return f"http://127.0.0.1:{port}"


@cache
def _hung_socket() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=1000)
