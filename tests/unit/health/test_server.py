"""The admin server over real sockets of the loopback interface, from the outside."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from structlog.testing import capture_logs

from service.errors import ConfigurationError
from service.health import server as server_module
from service.health.server import AdminServer, Response


def _broken() -> Response:
    raise ZeroDivisionError


@pytest.fixture
def server() -> Iterator[AdminServer]:
    server = AdminServer(
        "127.0.0.1",
        0,
        {
            "/hello": lambda: Response(body=b"hello\n"),
            "/sorry": lambda: Response(status=HTTPStatus.SERVICE_UNAVAILABLE, body=b"why\n"),
            "/broken": _broken,
            "/large": lambda: Response(body=b"x" * 8_000_000),
        },
    )
    server.start()
    yield server
    server.close()


def _request(server: AdminServer, method: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _raw(server: AdminServer, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
        return answer


def test_a_path_answers(server: AdminServer) -> None:
    assert _request(server, "GET", "/hello") == (200, b"hello\n")
    assert _request(server, "GET", "/hello?verbose=1") == (200, b"hello\n")
    assert _request(server, "GET", "/sorry") == (503, b"why\n")


def test_head_sends_no_body(server: AdminServer) -> None:
    assert _request(server, "HEAD", "/hello") == (200, b"")


def test_what_it_does_not_know_is_refused(server: AdminServer) -> None:
    assert _request(server, "GET", "/nothing")[0] == 404
    assert _request(server, "POST", "/hello")[0] == 405
    assert b" 400 " in _raw(server, b"nonsense\r\n\r\n")
    assert b" 431 " in _raw(server, b"GET /hello HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n")


def test_a_path_that_fails_leaves_the_others_alone(server: AdminServer) -> None:
    with capture_logs() as logs:
        assert _request(server, "GET", "/broken")[0] == 500

    assert [log["event"] for log in logs] == ["admin request failed"]
    assert _request(server, "GET", "/hello")[0] == 200


def test_a_client_that_half_closes_gets_all_of_a_large_answer(server: AdminServer) -> None:
    answer = _raw(server, b"GET /large HTTP/1.0\r\n\r\n")

    assert len(answer.partition(b"\r\n\r\n")[2]) == 8_000_000


def test_clients_that_say_nothing_do_not_keep_others_out(
    server: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "REQUEST_S", 0.2)
    silent = [
        socket.create_connection(("127.0.0.1", server.port), timeout=5)
        for _ in range(server_module.MAX_CONNECTIONS)
    ]

    for client in silent:
        assert _until_closed(client)
        client.close()

    assert _request(server, "GET", "/hello")[0] == 200


def _until_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_it_answers_while_the_thread_that_started_it_is_blocked(server: AdminServer) -> None:
    answers: list[tuple[int, bytes]] = []
    asking = threading.Thread(target=lambda: answers.append(_request(server, "GET", "/hello")))
    asking.start()

    until_s = time.monotonic() + 5
    while not answers and time.monotonic() < until_s:  # a handler that computes
        pass

    assert answers == [(200, b"hello\n")]
    asking.join()


def test_closing_frees_the_port() -> None:
    server = AdminServer("127.0.0.1", 0, {})
    server.start()
    port = server.port

    server.close()

    AdminServer("127.0.0.1", port, {}).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_port_in_use_is_an_error_at_start(server: AdminServer) -> None:
    second = AdminServer("127.0.0.1", server.port, {})

    with pytest.raises(ConfigurationError, match=r"admin: cannot listen: .*in use"):
        second.start()
    second.close()
