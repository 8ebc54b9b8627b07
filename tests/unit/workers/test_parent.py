"""What the end of a worker says, and how the parent asks and tells those that run."""

import signal
import urllib.request
from typing import Any

import pytest

from service.health.server import AdminServer, Response
from service.settings import build_settings
from service.workers.parent import Workers, _get, drained_code


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param(0, 0, id="drained"),
        pytest.param(75, 75, id="something is left"),
        pytest.param(-signal.SIGTERM, 0, id="was still starting"),
        pytest.param(-signal.SIGKILL, 75, id="killed"),
        pytest.param(-signal.SIGSEGV, 75, id="crashed"),
    ],
)
def test_a_worker_that_was_asked_to_drain_says_whether_it_did(code: int, said: int) -> None:
    assert drained_code(code) == said


def test_workers_are_asked_directly_whatever_proxy_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setattr(urllib.request, "_opener", None)
    server = AdminServer("127.0.0.1", 0, {"/livez": lambda: Response(body=b"ok\n")})
    server.start()
    try:
        answer = _get(server.port, "/livez")
    finally:
        server.close()

    assert answer == (200, b"ok\n")


class FakeProcess:
    returncode = None

    def __init__(self) -> None:
        self.signals: list[int] = []

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


def test_a_worker_that_is_starting_is_not_sent_what_would_end_it() -> None:
    workers: Any = Workers(build_settings({"workers": 2}), [])
    up, starting = FakeProcess(), FakeProcess()
    workers._running = {0: up, 1: starting}
    workers._ports = {0: 1234}

    workers.reload()

    assert (up.signals, starting.signals) == ([signal.SIGHUP], [])
