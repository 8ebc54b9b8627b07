import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.__main__ import main
from service.cli.arguments import parse_arguments
from service.cli.exit_codes import CONFIGURATION, OK, TEMPORARY
from service.cli.healthcheck import admin_address, files_of


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


@pytest.fixture
def first_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command line of process 1; nobody answers on the default port."""
    command_line = tmp_path / "cmdline"
    monkeypatch.setattr("service.cli.healthcheck.FIRST_PROCESS", command_line)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr("service.cli.healthcheck.DEFAULT_PORT", server.getsockname()[1])
    return command_line


def _configured(directory: Path, port: int) -> Path:
    file = directory / "headrace.yaml"
    file.write_text(f"admin: {{port: {port}}}\n")
    return file


def test_the_port_of_the_configuration_that_the_container_runs_with_is_asked(
    first_process: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n\r\nok\n") as port:
        file = _configured(tmp_path, port)
        first_process.write_text(f"python3\0/opt/headrace/bin/headrace\0run\0--config\0{file}\0")

        assert main(["healthcheck"]) == OK

    assert capsys.readouterr().err == ""


def test_what_answers_for_another_is_not_believed(
    first_process: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        answering(b"HTTP/1.1 404 Not Found\r\n\r\n") as public,
        answering(b"HTTP/1.1 200 OK\r\n\r\nok\n") as port,
    ):
        monkeypatch.setattr("service.cli.healthcheck.DEFAULT_PORT", public)
        file = _configured(tmp_path, port)
        first_process.write_text(f"/bin/headrace\0run\0--config={file}\0")

        assert main(["healthcheck"]) == OK


def test_a_service_that_is_not_ready_is_asked_once(
    first_process: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\ndraining\n") as port:
        monkeypatch.setattr("service.cli.healthcheck.DEFAULT_PORT", port)
        first_process.write_text(f"headrace\0run\0--config\0{tmp_path / 'not there'}\0")

        assert main(["healthcheck"]) == TEMPORARY


@pytest.mark.parametrize(
    "command_line",
    [None, "", "/sbin/init\0", "headrace\0run\0", "headrace\0tail\0--config\0x\0"],
    ids=["no such file", "none", "another program", "no file", "another command"],
)
def test_without_a_configuration_the_default_port_is_what_nobody_answers_on(
    command_line: str | None, first_process: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if command_line is not None:
        first_process.write_text(command_line)

    assert main(["healthcheck"]) == TEMPORARY
    assert "Connection refused" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command_line", "files"),
    [
        (["docker-init", "--", "headrace", "run", "--config", "a", "--config=b"], ["a", "b"]),
        (["python", "-m", "service", "run", "--config", "a"], ["a"]),
        (["headrace", "run", "--config"], []),
        (["sh", "-c", "headrace run --config a"], []),
    ],
    ids=["behind an init", "as a module", "cut off", "in a shell"],
)
def test_the_files_of_a_command_line(command_line: list[str], files: list[str]) -> None:
    assert files_of(command_line) == [Path(file) for file in files]


@pytest.mark.parametrize("port", ["", "abc", "0", "65536", "8081 "])
def test_a_port_that_is_none_is_told(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_ADMIN__PORT", port)

    assert main(["healthcheck"]) == CONFIGURATION
    assert capsys.readouterr().err == f"HEADRACE_ADMIN__PORT: {port!r} is no port to ask\n"


def test_the_address_may_be_in_one_variable() -> None:
    arguments = parse_arguments(["healthcheck"])

    assert admin_address(arguments.config, {"HEADRACE_ADMIN": '{"port": 9000}'}) == (
        "127.0.0.1",
        9000,
    )


def test_an_address_for_everyone_is_asked_on_loopback() -> None:
    arguments = parse_arguments(["healthcheck"])

    assert admin_address(arguments.config, {}) == ("127.0.0.1", 8081)
    environ = {"HEADRACE_ADMIN__HOST": "::", "HEADRACE_ADMIN__PORT": "1"}
    assert admin_address(arguments.config, environ) == ("::1", 1)
