"""How the parent asks its workers, and what it makes of an answer that does not come."""

import socket
import threading
import urllib.request

import pytest

from service.health.server import AdminServer, Response
from service.telemetry import Sources
from service.telemetry.exposition import Exposition
from service.workers.answers import WorkerAnswers, ask


def test_workers_are_asked_directly_whatever_proxy_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setattr(urllib.request, "_opener", None)
    server = AdminServer("127.0.0.1", 0, {"/livez": lambda: Response(body=b"ok\n")})
    server.start()
    try:
        answer = ask(server.port, "/livez")
    finally:
        server.close()

    assert answer == (200, b"ok\n")


def test_a_probe_is_answered_although_no_thread_can_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    server = AdminServer("127.0.0.1", 0, {"/livez": lambda: Response(body=b"ok\n")})
    server.start()
    answers = WorkerAnswers(2, {0: server.port}, silent=lambda: "starting")
    try:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        answer = answers.probe("/livez")
    finally:
        server.close()

    assert (answer.status, answer.body) == (200, b"ok\n")


def test_a_worker_that_dies_in_the_middle_of_an_answer_has_not_answered() -> None:
    def die(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n# HELP")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        dying = threading.Thread(target=die, args=(listening,))
        dying.start()
        status, _ = ask(listening.getsockname()[1], "/metrics")
        dying.join()

    assert status == 503


def test_a_worker_that_does_not_answer_is_not_ready_for_prometheus_either() -> None:
    sources = Sources(ready=lambda: True, version="1")
    metrics = Exposition(sources).text()
    server = AdminServer("127.0.0.1", 0, {"/metrics": lambda: Response(body=metrics)})
    server.start()
    answers = WorkerAnswers(2, {0: server.port}, silent=lambda: "starting")

    try:
        lines = answers.metrics().body.decode().splitlines()
    finally:
        server.close()

    assert [line for line in lines if "service_ready" in line] == [
        "# HELP service_ready 1 while the readiness probe succeeds.",
        "# TYPE service_ready gauge",
        'service_ready{worker="0"} 1.0',
        'service_ready{worker="1"} 0.0',
    ]
    assert [line for line in lines if line.startswith("service_build")] == [
        'service_build{worker="0",version="1"} 1.0'
    ]
