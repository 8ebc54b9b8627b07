import importlib
import os
import signal
import subprocess
import sys

import pytest

from service.__main__ import main
from service.cli import schema
from service.cli.exit_codes import CONFIGURATION, INTERNAL, OK


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
        with pytest.raises(SystemExit) as ended:
            main(["run"])
    finally:
        signal.signal(signal.SIGTERM, before)

    assert ended.value.code == OK


def test_the_service_can_be_run_as_a_module() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "service", "schema"], capture_output=True, check=True, text=True
    )

    assert '"title": "Headrace configuration"' in result.stdout


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
