"""The broker of the integration tests, and which one it is, where nobody can overlook it."""

import pytest

from tests.kafka.fixtures import kafka, kafka_bootstrap, kafka_server
from tests.kafka.selection import Broker, choose

__all__ = ["kafka", "kafka_bootstrap", "kafka_server"]


def pytest_report_header() -> str:
    return choose().note


def pytest_configure() -> None:
    choice = choose()
    if choice.refused:  # here, and not when a broker is asked for: that may be in a worker
        pytest.exit(choice.note, returncode=3)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    choice = choose()
    if choice.broker is Broker.EMBEDDED:
        terminalreporter.write_line(choice.note, red=True, bold=True)
