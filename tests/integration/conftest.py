"""The broker of the integration tests, and which one it is, where nobody can overlook it."""

import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.kafka.fixtures import kafka, kafka_bootstrap, kafka_server
from tests.kafka.selection import Broker, choose

__all__ = ["kafka", "kafka_bootstrap", "kafka_server"]


@pytest.fixture
async def ending() -> AsyncIterator[AsyncExitStack]:
    """Ends what a failed test leaves running."""
    async with AsyncExitStack() as stack:
        yield stack


def pytest_report_header() -> str:
    return choose().note


def pytest_configure() -> None:
    # A shell has what it starts in the background ignore Ctrl-C, and so would all that we start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    choice = choose()
    if choice.refused:  # here, and not when a broker is asked for: that may be in a worker
        pytest.exit(choice.note, returncode=3)


@pytest.hookimpl(trylast=True)  # whoever shuffles has done it by then
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first, then those of many tests: what is begun last is what everybody waits for.

    A worker is given its next file while it still has up to two tests to do, so that of files of
    one slow test two can wait behind each other while the other workers have nothing left.
    """
    here = Path(__file__).parent
    if not all(item.path.is_relative_to(here) for item in items):
        return  # unit tests among them keep the order in which they were shuffled
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None, -sizes[item.path]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    choice = choose()
    if choice.broker is Broker.EMBEDDED:
        terminalreporter.write_line(choice.note, red=True, bold=True)
