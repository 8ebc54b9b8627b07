"""What the workers answer as one service: probes, metrics and status, asked of each of them.

Runs in the thread of the parent's admin port.  Knows where workers answer, and no process.
"""

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Final

import orjson

from service.health.routes import PROMETHEUS_TEXT, shown
from service.health.server import Response
from service.metrics.registry import READY
from service.workers.merge import merge_metrics, merge_status

ASK_TIMEOUT_S: Final = 2.0
NOT_READY: Final = (
    f"# HELP {READY.prometheus_name} {READY.about}\n"
    f"# TYPE {READY.prometheus_name} {READY.kind}\n"
    f"{READY.prometheus_name} 0.0\n"
)
"""All that a worker which does not answer has to tell Prometheus.

Without it one that dies again and again would be no series that an alert can look at, although the
pod's probe says for as long that it is not ready.
"""


class WorkerAnswers:
    """Asks the workers side by side, and makes one answer of theirs.

    Args:
        count: How many workers there are to be.
        ports: The admin ports of those that have told theirs, by index; followed as it changes.
        silent: Phase of a worker that does not answer: ``starting`` or ``draining``.
    """

    def __init__(self, count: int, ports: Mapping[int, int], *, silent: Callable[[], str]) -> None:
        self._count = count
        self._ports = ports
        self._silent = silent

    def routes(self, *, metrics: bool) -> dict[str, Callable[[], Response]]:
        """What answers on each path of the admin port; on ``/metrics`` if that is wanted."""
        return {
            "/livez": lambda: self.probe("/livez"),
            "/readyz": lambda: self.probe("/readyz"),
            "/status": self.status,
            **({"/metrics": self.metrics} if metrics else {}),
        }

    def probe(self, path: str) -> Response:
        """The first answer that is not well; a worker that is silent is not ready, but alive."""
        for index, (status, body) in enumerate(self._ask(path)):
            if status != HTTPStatus.OK and (path == "/readyz" or body):
                text = b"worker %d: %b" % (index, body or b"%b\n" % self._silent().encode())
                return Response(status=HTTPStatus.SERVICE_UNAVAILABLE, body=text)
        return Response(body=b"ok\n")

    def metrics(self) -> Response:
        """The metrics of all, each sample with its worker."""
        texts = [
            body.decode() if status == HTTPStatus.OK else NOT_READY
            for status, body in self._ask("/metrics")
        ]
        return Response(content_type=PROMETHEUS_TEXT, body=merge_metrics(texts).encode())

    def status(self) -> Response:
        """The status documents of all, merged."""
        documents: list[dict[str, Any] | None] = [
            orjson.loads(body) if status == HTTPStatus.OK else None
            for status, body in self._ask("/status")
        ]
        return shown(merge_status(documents, silent=self._silent()))

    def _ask(self, path: str) -> list[tuple[int, bytes]]:
        """What each worker answers, side by side; 503 for one that does not."""
        ports = [self._ports.get(index, 0) for index in range(self._count)]
        try:
            with ThreadPoolExecutor(len(ports)) as pool:
                return list(pool.map(lambda port: ask(port, path), ports))
        except RuntimeError:  # no thread to be had: that must not make a probe fail
            return [ask(port, path) for port in ports]


# HTTP_PROXY is for others than our own workers, and no proxy reaches them
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a worker's answer; 503, and why, if there is none or no port."""
    if not port:
        return HTTPStatus.SERVICE_UNAVAILABLE, b""
    url = f"http://127.0.0.1:{port}{path}"
    try:
        try:
            with _direct.open(url, timeout=ASK_TIMEOUT_S) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
    except (OSError, http.client.HTTPException) as error:  # the latter of one that died meanwhile
        return HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n".encode()
