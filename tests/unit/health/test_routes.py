import orjson

from service.health.board import StatusBoard
from service.health.routes import admin_routes
from service.health.watchdog import LoopWatchdog
from service.metrics import Phase, ServiceStatus


class Source:
    def __init__(self, phase: Phase) -> None:
        self.phase = phase

    def snapshot(self) -> ServiceStatus:
        return ServiceStatus(phase=self.phase)


def _ask(path: str, *, phase: Phase = Phase.RUNNING, age_s: float = 0.0) -> tuple[int, bytes]:
    now_s = 0.0
    board = StatusBoard(Source(phase), clock=lambda: now_s)
    board.beat()
    watchdog = LoopWatchdog(board)
    routes = admin_routes(board, watchdog, version="", metrics=lambda: b"# EOF\n")
    now_s = age_s
    if age_s > 0:
        watchdog.blocked_in = "enrich.py:7 in lookup"
    response = routes[path]()
    return response.status, response.body


def test_a_running_process_is_live_and_ready() -> None:
    assert _ask("/livez") == (200, b"ok\n")
    assert _ask("/readyz") == (200, b"ok\n")


def test_an_unready_process_says_why() -> None:
    assert _ask("/readyz", phase=Phase.DRAINING) == (503, b"draining\n")
    assert _ask("/livez", phase=Phase.DRAINING) == (200, b"ok\n")


def test_a_blocked_loop_is_answered_with_where_it_hangs() -> None:
    status, body = _ask("/livez", age_s=12.0)

    assert status == 503
    assert body == (b"stale: the event loop has not turned for 12.0 s, in enrich.py:7 in lookup\n")


def test_status_is_json_and_names_where_the_loop_hangs() -> None:
    status, body = _ask("/status", age_s=12.0)

    assert status == 200
    assert orjson.loads(body)["loop"]["blocked_in"] == "enrich.py:7 in lookup"


def test_metrics_are_what_the_writer_writes() -> None:
    assert _ask("/metrics") == (200, b"# EOF\n")


def test_without_a_writer_of_metrics_there_are_none_and_the_rest_stays() -> None:
    board = StatusBoard(Source(Phase.RUNNING))
    routes = admin_routes(board, LoopWatchdog(board), version="", metrics=None)

    assert sorted(routes) == ["/livez", "/readyz", "/status"]
