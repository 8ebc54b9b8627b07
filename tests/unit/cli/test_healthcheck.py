import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.__main__ import main
from service.cli.arguments import parse_arguments
from service.cli.exit_codes import CONFIGURATION, OK, TEMPORARY
from service.cli.healthcheck import admin_address


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A server that answers one request; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nok\n", OK, ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\ndraining\n", TEMPORARY, "draining\n"),
        (b"", TEMPORARY, "\n"),
    ],
    ids=["ready", "draining", "closed"],
)
def test_the_answer_of_readyz_is_the_exit_code(
    answer: bytes,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with answering(answer) as port:
        monkeypatch.setenv("HEADRACE_ADMIN__PORT", str(port))

        assert main(["healthcheck"]) == code

    assert capsys.readouterr().err == message


@pytest.mark.parametrize("port", ["", "abc", "0", "65536", "8081 "])
def test_a_port_that_is_none_is_told(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_ADMIN__PORT", port)

    assert main(["healthcheck"]) == CONFIGURATION
    assert capsys.readouterr().err == f"HEADRACE_ADMIN__PORT: {port!r} is no port to ask\n"


def test_the_address_may_be_in_one_variable() -> None:
    arguments = parse_arguments(["healthcheck"])

    assert admin_address(arguments, {"HEADRACE_ADMIN": '{"port": 9000}'}) == ("127.0.0.1", 9000)


def test_an_address_for_everyone_is_asked_on_loopback() -> None:
    arguments = parse_arguments(["healthcheck"])

    assert admin_address(arguments, {}) == ("127.0.0.1", 8081)
    environ = {"HEADRACE_ADMIN__HOST": "::", "HEADRACE_ADMIN__PORT": "1"}
    assert admin_address(arguments, environ) == ("::1", 1)
