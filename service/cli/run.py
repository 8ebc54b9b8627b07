"""``headrace run``: the service itself."""

import argparse
import asyncio
import os
from collections.abc import Callable

import structlog

from service.app import run_service
from service.cli.components import component_problems
from service.cli.exit_codes import INTERNAL, exit_code_of
from service.errors import ConfigurationError
from service.settings import Settings, load_settings
from service.telemetry import configure_logging
from service.workers import WORKER_VARIABLE, run_workers, this_worker

log = structlog.get_logger(__name__)


def main(arguments: argparse.Namespace) -> int:
    """Serve until drained; the exit code says whether everything was.

    Raises:
        ConfigurationError: With every problem, before any connection is made.
    """
    environ = {name: text for name, text in os.environ.items() if name != WORKER_VARIABLE}

    def load() -> Settings:
        return load_settings(arguments.config, environ)

    settings = load()
    worker = this_worker(os.environ)
    writer = configure_logging(level=settings.logging.level, fmt=settings.logging.format)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            if settings.workers > 1 and worker is None:
                files = [part for file in arguments.config for part in ("--config", str(file))]
                return runner.run(run_workers(settings, ["run", *files], load))
            _refuse_what_cannot_be_built(settings)
            return runner.run(run_service(settings, worker, load=load))
    except Exception as error:
        if exit_code_of(error) != INTERNAL:
            raise
        # in the form of the log, which programs read; a bare traceback is a record of each line
        log.critical("failed", exc_info=error)
        return INTERNAL
    finally:
        writer.close()  # last, so that the exit report is written


def _refuse_what_cannot_be_built(settings: Settings) -> None:
    """Raise every problem with handlers and normalizers, where building would tell the first.

    Raises:
        ConfigurationError: With all of them.
    """
    problems = component_problems(settings)
    if problems:
        raise ConfigurationError(problems)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop of uvloop where the extra ``uvloop`` is installed, else asyncio's."""
    try:
        import uvloop  # noqa: PLC0415 -- an extra
    except ImportError:
        return None
    return uvloop.new_event_loop
