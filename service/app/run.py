"""Runs an application under signals, with its admin port, until it has drained."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from typing import Final

import structlog

from service.app.application import Application
from service.app.collector import calm_collector
from service.app.figures import PageFigures, ask_parent
from service.app.reload import Reloader
from service.app.unused import keep_giving_back
from service.app.worker import GAVE_UP, Worker
from service.health import AdminServer, LoopWatchdog, StatusBoard, admin_routes
from service.health.document import status_document
from service.health.probes import readiness
from service.settings import Settings
from service.telemetry import Sources, Telemetry, flush_log, lines_dropped

log = structlog.get_logger(__name__)

VERSION: Final = version("headrace")


async def run_service(
    settings: Settings,
    worker: Worker | None = None,
    *,
    load: Callable[[], Settings] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; a second one stops at once, unless there is a parent.

    Args:
        settings: The configuration.
        worker: Set in a process that shares its ports with others under one parent, which
            answers on the admin port for all of them.
        load: Reads the configuration anew; SIGHUP then takes over what may change while running.

    Returns:
        The process's exit code: 0 drained, 75 something is left or no broker came in time, the
        latter of a worker ``GAVE_UP``.

    Raises:
        ConfigurationError: If a handler, a filter or a normalizer does not fit.
    """
    async with AsyncExitStack() as stack:
        telemetry = Telemetry(
            version=VERSION, traces_sample_ratio=settings.telemetry.traces_sample_ratio
        )
        stack.callback(telemetry.close)
        application = Application(settings, telemetry)
        _drain_on_signals(application, insist=_stop if worker is None else _go_on)
        if load is not None:
            reloader = Reloader(application, load)
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.reload)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        board = StatusBoard(application)
        watchdog = LoopWatchdog(board)
        figures = PageFigures(
            lambda: status_document(board, watchdog, version=VERSION),
            of_all=None if worker is None else partial(ask_parent, settings.admin.host, worker),
        )
        edge = application.open_to_public(figures, reuse_port=worker is not None)
        sources = Sources(
            counters=lambda: [built.counters for built in application.pipelines.values()],
            status=lambda: board.latest.status,
            hub=edge.counters,
            ready=lambda: readiness(board.latest.status, age_s=board.age_s()).ok,
            loop_lag_s=board.loop_lag_s,
            loop_blocks=lambda: watchdog.incidents,
            logs_dropped=lines_dropped,
            spans_dropped=telemetry.spans_dropped,
            version=VERSION,
        )
        exposition = telemetry.exposition(sources)  # pushes, if that is asked for
        admin = AdminServer(
            settings.admin.host if worker is None else "127.0.0.1",
            settings.admin.port if worker is None else 0,
            admin_routes(
                board,
                watchdog,
                version=VERSION,
                metrics=exposition if settings.telemetry.prometheus else None,
            ),
        )
        admin.start()
        if worker is not None:
            worker.report(admin.port)
            worker.when_orphaned(lambda: _drain_without_parent(application))
        stack.callback(admin.close)
        stack.callback(calm_collector())  # it collects once, which blocks the loop
        watchdog.start()
        stack.callback(keep_giving_back())
        stack.callback(watchdog.close)
        if worker is None:
            log.info("admin port open", host=settings.admin.host, port=admin.port)
        else:
            log.info("worker ready for questions", worker=worker.index, port=admin.port)
        async with asyncio.TaskGroup() as tasks:
            beating = tasks.create_task(board.run(), name="status board")
            report = await application.run()
            beating.cancel()
        log.info(
            "stopped",
            drained=report.drained,
            took_s=round(report.took_s, 3),
            done=report.done,
            parked=report.parked,
            abandoned=report.abandoned,
            returned=report.returned,
            unpublished=report.unpublished,
            uncommitted=report.uncommitted,
        )
        return GAVE_UP if report.gave_up and worker is not None else report.exit_code


def _drain_on_signals(application: Application, insist: Callable[[], None]) -> None:
    """Drain at the first SIGTERM or SIGINT; every further one calls ``insist``."""
    loop = asyncio.get_running_loop()
    received = 0

    def on_signal(number: int) -> None:
        nonlocal received
        received += 1
        log.info("signal", name=signal.Signals(number).name)
        if received > 1:
            insist()
        application.request_drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)


def _stop() -> None:
    log.warning("stopped at once", reason="a second signal")
    flush_log()
    os._exit(os.EX_TEMPFAIL)


def _go_on() -> None:
    """Nothing: Ctrl-C and systemd signal every process, and so does the parent.

    It is the parent that insists, by SIGKILL.
    """


def _drain_without_parent(application: Application) -> None:
    log.error("the parent is gone")
    application.request_drain()
