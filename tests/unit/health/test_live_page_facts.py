"""The live page and ``/status`` show the same facts: one document, and the names that it has."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.health.board import StatusBoard
from service.health.document import status_document
from service.health.routes import admin_routes
from service.health.watchdog import LoopWatchdog
from service.metrics import (
    Blocking,
    Cause,
    PartitionStatus,
    Phase,
    PipelineStatus,
    ServiceStatus,
)

_STATIC = Path(__file__).parents[3] / "service" / "static"
_PANELS = (_STATIC / "pipelines.js").read_text(encoding="utf-8")
_PAGE = (_STATIC / "app.js").read_text(encoding="utf-8")

_STUCK = PartitionStatus(
    topic="logs.raw",
    partition=3,
    lag=1200,
    blocking=Blocking(cause=Cause.RETRY, offset=42, key="k", handler="alerts", attempts=3),
)


class _Source:
    def snapshot(self) -> ServiceStatus:
        pipeline = PipelineStatus(partitions=(_STUCK,))
        return ServiceStatus(phase=Phase.RUNNING, pipelines={"logs": pipeline})


@pytest.fixture
def board() -> StatusBoard:
    board = StatusBoard(_Source(), clock=lambda: 10.0)
    board.beat()
    return board


@pytest.fixture
def document(board: StatusBoard) -> dict[str, Any]:
    facts = status_document(board, LoopWatchdog(board), version="1.2.3")
    plain: dict[str, Any] = orjson.loads(orjson.dumps(facts))
    return plain


def _read(script: str, variable: str) -> set[str]:
    """The fields of ``variable`` that a script looks at."""
    return set(re.findall(rf"\b{variable}\.(\w+)", script))


def test_the_page_asks_for_no_fact_that_the_document_lacks(document: dict[str, Any]) -> None:
    pipeline = document["pipelines"]["logs"]
    partition = pipeline["partitions"][0]

    assert _read(_PAGE, "status") | {"pipelines", "stale"} <= set(document)
    assert _read(_PANELS, "facts") <= set(pipeline)
    assert _read(_PANELS, "channel") <= set(pipeline["channel"])
    assert _read(_PANELS, "each") <= set(partition)
    assert _read(_PANELS, "blocking") <= set(partition["blocking"])


def test_the_page_shows_whatever_the_contract_says_of_a_pipeline(document: dict[str, Any]) -> None:
    pipeline = document["pipelines"]["logs"]
    partition = pipeline["partitions"][0]
    # whose group it is and what feeds the pipeline is configuration, not what happens
    assert set(pipeline) - {"fed_by"} <= _read(_PANELS, "facts")
    assert set(pipeline["channel"]) <= _read(_PANELS, "channel")
    assert set(partition) - {"group"} <= _read(_PANELS, "each")
    assert set(partition["blocking"]) <= _read(_PANELS, "blocking")


def test_the_admin_port_gives_the_document_that_the_page_gets(
    board: StatusBoard, document: dict[str, Any]
) -> None:
    routes = admin_routes(board, LoopWatchdog(board), version="1.2.3", metrics=None)

    assert orjson.loads(routes["/status"]().body) == document
