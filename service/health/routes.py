"""What the paths of the admin port answer."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import orjson

from service.health.board import StatusBoard
from service.health.document import status_document
from service.health.probes import Verdict, liveness, readiness
from service.health.server import Response, Route
from service.health.watchdog import LoopWatchdog

PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of Prometheus' text exposition format."""


def admin_routes(
    board: StatusBoard,
    watchdog: LoopWatchdog,
    *,
    version: str,
    metrics: Callable[[], bytes] | None,
) -> Mapping[str, Route]:
    """The routes of the admin port.

    Args:
        board: Where the event loop leaves its facts.
        watchdog: Says in what the loop is blocked.
        version: Shown in ``/status``.
        metrics: Writes Prometheus' text format; called in the admin thread.  Without it there is no
            ``/metrics``.
    """

    def livez() -> Response:
        where = watchdog.blocked_in
        detail = "" if where is None else f", in {where}"
        return _probe(liveness(age_s=board.age_s()), detail)

    def readyz() -> Response:
        return _probe(readiness(board.latest.status, age_s=board.age_s()))

    def status() -> Response:
        return shown(status_document(board, watchdog, version=version))

    routes: dict[str, Route] = {"/livez": livez, "/readyz": readyz, "/status": status}
    if metrics is not None:
        routes["/metrics"] = lambda: Response(content_type=PROMETHEUS_TEXT, body=metrics())
    return routes


def shown(document: Mapping[str, Any]) -> Response:
    """The status document as an answer."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return Response(content_type="application/json", body=orjson.dumps(document, option=options))


def _probe(verdict: Verdict, detail: str = "") -> Response:
    if verdict.ok:
        return Response(body=b"ok\n")
    return Response(
        status=HTTPStatus.SERVICE_UNAVAILABLE, body=f"{verdict.reason}{detail}\n".encode()
    )
