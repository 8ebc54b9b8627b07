"""Which event loop a test runs on, and how hard Hypothesis tries.

Unit tests run in virtual time; a test marked ``real_loops`` runs once on each real loop instead
(asyncio's and uvloop's), which is what anything with threads or sockets needs.  Everything
outside ``tests/unit`` runs on asyncio's loop unless it has the mark.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import hypothesis
import pytest
import uvloop

from service.testing.virtual_time import VirtualTimeLoop

LoopFactories = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]

_UNIT = Path(__file__).parent / "unit"
_VIRTUAL: LoopFactories = {"virtual": VirtualTimeLoop}
_ASYNCIO: LoopFactories = {"asyncio": asyncio.SelectorEventLoop}
_REAL: LoopFactories = {**_ASYNCIO, "uvloop": uvloop.new_event_loop}

hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile(
    "ci", deadline=None, derandomize=True, database=None, print_blob=True
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_loops: runs on asyncio and on uvloop, in real time")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> LoopFactories:
    del config
    if item.get_closest_marker("real_loops"):
        return _REAL
    return _VIRTUAL if item.path.is_relative_to(_UNIT) else _ASYNCIO
