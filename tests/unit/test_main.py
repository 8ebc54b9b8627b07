import importlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from service.__main__ import main
from service.cli import schema
from service.cli.exit_codes import CONFIGURATION, INTERNAL, OK, TEMPORARY, USAGE


def test_a_broken_configuration_ends_with_78_and_every_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_ADMIN__PORT", "70000")
    monkeypatch.setenv("HEADRACE_COLOUR", "blue")

    code = main(["explain"])

    assert code == CONFIGURATION
    assert capsys.readouterr().err.splitlines() == [
        "admin.port: should be less than or equal to 65535 (from HEADRACE_ADMIN__PORT)",
        "colour: is no known key (from HEADRACE_COLOUR)",
    ]


def test_an_internal_error_ends_with_70_and_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_arguments: object) -> int:
        raise RuntimeError("broken")

    monkeypatch.setattr(schema, "main", broken)

    assert main(["schema"]) == INTERNAL
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("dlq list --since bogus", id="since"),
        pytest.param("dlq show --until bogus", id="until"),
        pytest.param("dlq purge --before bogus", id="before"),
        pytest.param("tail logs.raw --from bogus", id="from"),
        pytest.param("tail logs.raw --where {", id="where"),
        pytest.param("produce logs.raw --file /no/such/file", id="file"),
        pytest.param("state show nope nope", id="pipeline"),
        pytest.param("state show logs nope", id="handler"),
        pytest.param("new-handler 1st", id="name"),
    ],
)
def test_a_wrong_argument_is_wrong_usage_and_not_the_configurations_fault(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == USAGE
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_interrupted_command_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(schema, "main", interrupted)

    assert main(["schema"]) == OK
    assert capsys.readouterr() == ("", "")


def test_a_service_that_is_asked_to_stop_while_it_starts_ends_with_0(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def starting(_name: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(importlib, "import_module", starting)
    before = signal.getsignal(signal.SIGTERM)

    try:
        code = main(["run"])
    finally:
        signal.signal(signal.SIGTERM, before)

    assert code == OK


def test_a_reload_that_is_asked_for_while_the_service_starts_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def starting(_name: str) -> object:
        # to this thread: those that other tests have left here would take it
        signal.pthread_kill(threading.get_ident(), signal.SIGHUP)
        return schema

    monkeypatch.setattr(importlib, "import_module", starting)
    monkeypatch.setattr(schema, "main", lambda _arguments: signal.SIGHUP in signal.sigpending())
    term = signal.getsignal(signal.SIGTERM)

    try:
        waits = main(["run"])
    finally:
        signal.signal(signal.SIGTERM, term)
        hup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        signal.signal(signal.SIGHUP, hup)

    assert waits is True


def test_the_service_can_be_run_as_a_module() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "service", "schema"], capture_output=True, check=True, text=True
    )

    assert '"title": "Headrace configuration"' in result.stdout


def _shell(script: str) -> "subprocess.CompletedProcess[str]":
    """Run a shell command in which ``$0`` is Python; its output is buffered, as it is usually."""
    environ = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(  # noqa: S603 -- ourselves
        ["/bin/sh", "-c", script, sys.executable],
        capture_output=True,
        check=False,
        text=True,
        env=environ,
    )


@pytest.mark.parametrize("command", ["explain", "schema", "topics --help"])
def test_a_reader_that_has_left_is_no_error(command: str) -> None:
    result = _shell(f'{{ "$0" -m service {command}; echo "code $?" >&2; }} | exec true')

    assert result.stderr == f"code {OK}\n"


@pytest.mark.parametrize("command", ["explain", "schema", "topics --help"])
def test_an_output_without_room_is_said_in_a_line(command: str) -> None:
    result = _shell(f'"$0" -m service {command} >/dev/full')

    assert result.returncode == TEMPORARY
    assert "No space left on device" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "code"),
    [
        pytest.param("explain <&-", OK, id="no input"),
        pytest.param("schema >&-", OK, id="no output"),
        pytest.param("explain --nope 2>&-", USAGE, id="no errors"),
        pytest.param("asyncapi <&- >&- 2>&-", OK, id="nothing at all"),
    ],
)
def test_standard_streams_may_be_closed(command: str, code: int) -> None:
    assert _shell(f'exec "$0" -m service {command}').returncode == code


def test_what_is_logged_goes_into_no_other_file_when_there_is_no_standard_error() -> None:
    script = (
        "import os, service.__main__ as m; m.main(['explain']); "
        "print(os.readlink('/proc/self/fd/2'))"
    )

    result = _shell(f'exec "$0" -c "{script}" 2>&-')

    assert result.stdout.splitlines()[-1] == os.devnull


def test_a_key_that_the_locale_has_no_character_for_is_escaped() -> None:
    script = "import service.__main__ as m; m._open_standard_streams(); print(chr(0x11F))"

    assert _shell(f'PYTHONIOENCODING=ascii exec "$0" -c "{script}"').stdout == "\\u011f\n"


def test_a_health_probe_imports_nothing_heavy() -> None:
    script = (
        "import sys; from service.__main__ import main; "
        "main(['healthcheck', '--timeout', '0.1']); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'asyncio', 'pydantic', 'yaml', 'aiokafka', 'ssl', 'http', 'logging', 'structlog'}))"
    )

    result = subprocess.run(  # noqa: S603 -- ourselves
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )

    assert result.stdout.strip() == ""


def test_an_interrupt_inside_of_evaluated_code_is_no_other_end(tmp_path: Path) -> None:
    """As when a dataclass or a named tuple is being made."""
    (tmp_path / "interrupted.py").write_text(
        "import sys, service.__main__ as headrace, service.cli.schema as command\n"
        "command.main = lambda _: exec('raise KeyboardInterrupt')\n"
        "sys.exit(headrace.main(['schema']))\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"],
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )

    assert done.returncode == OK
