"""Sets up logging: events with fields, as JSON lines or for a terminal, never blocking.

``structlog.get_logger(__name__)`` is what the service logs with; the libraries below it, which
use ``logging``, end in the same writer in the same form.  The level is decided before a log
call does anything, so a disabled one costs a tenth of a microsecond.
"""

import logging
import os
from collections.abc import Callable

import orjson
import structlog
from structlog.types import EventDict, Processor

from service.telemetry.log_fields import add_trace_ids, bound_values
from service.telemetry.log_writer import LogWriter
from service.telemetry.repeats import RepeatFilter

_LIBRARY_LEVELS = {
    # aiokafka tells each reconnect attempt and each rebalance step on INFO; ours say it once.
    "aiokafka": logging.WARNING,
    "asyncio": logging.WARNING,
    "websockets": logging.WARNING,
}

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    add_trace_ids,
    structlog.processors.format_exc_info,
    bound_values,
)

_writer: LogWriter | None = None

Render = Callable[[EventDict], bytes]


def render_json(entry: EventDict) -> bytes:
    """One JSON object and a newline; time, level and event first."""
    first = {name: entry.pop(name) for name in ("timestamp", "level", "event") if name in entry}
    return orjson.dumps({**first, **entry}, default=str, option=orjson.OPT_APPEND_NEWLINE)


def console_renderer(*, colors: bool) -> Render:
    """For people: one line, fields after the event, tracebacks below."""
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback
    )

    def render(entry: EventDict) -> bytes:
        return f"{renderer(None, '', entry)}\n".encode("utf-8", "backslashreplace")

    return render


class _QueueLogger:
    """What structlog calls at the end of its chain: hands the line to the writer."""

    def __init__(self, writer: LogWriter, name: str = "") -> None:
        self._writer = writer
        self.name = name

    def write(self, line: bytes) -> None:
        self._writer.write(line)

    debug = info = warning = error = critical = exception = write


class _LibraryHandler(logging.Handler):
    """Takes what libraries log through ``logging`` into our own form."""

    def __init__(self, writer: LogWriter, render: Render) -> None:
        super().__init__()
        self._writer = writer
        self._render = render
        self.addFilter(RepeatFilter(_LIBRARY_LEVELS))
        self.addFilter(_without_secrets)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            entry: EventDict = {"event": record.getMessage(), "logger": record.name}
            if record.exc_info:
                entry["exc_info"] = record.exc_info
            if unwritten := getattr(record, "unwritten", 0):
                entry["unwritten"] = unwritten
            self._writer.write(_rendered(entry, record.levelname.lower(), self._render))
        except Exception:  # noqa: BLE001 -- as logging does: a bad log call is not its caller's end
            self.handleError(record)


def _without_secrets(record: logging.LogRecord) -> bool:
    """Pass ``record`` on without the headers that OpenTelemetry finds malformed: it quotes them."""
    if record.name == "opentelemetry.util.re" and record.args:
        record.args = tuple("***" for _ in record.args)
    return True


def _rendered(entry: EventDict, level: str, render: Render) -> bytes:
    for processor in _SHARED:
        entry = processor(None, level, entry)  # type: ignore[assignment]  # none of these ends the chain
    return render(entry)


def configure_logging(*, level: str = "INFO", fmt: str = "json", fd: int = 2) -> LogWriter:
    """Send every log entry of this process to ``fd``.  Replaces what was configured before.

    Args:
        level: Least level written: DEBUG, INFO, WARNING or ERROR.
        fmt: ``json`` or ``console``, which has colours if ``fd`` is a terminal.
        fd: File descriptor, 2 for standard error.

    Returns:
        The writer; close it last, so that the exit report is written.
    """
    render: Render = render_json if fmt == "json" else console_renderer(colors=os.isatty(fd))
    global _writer  # noqa: PLW0603 -- logging is the process's, as in the standard library
    writer = _writer = LogWriter(fd, dropped_line=lambda count: _dropped_line(count, render))

    def last(logger: _QueueLogger, _method: str, entry: EventDict) -> bytes:
        if logger.name:
            entry["logger"] = logger.name
        return render(entry)

    structlog.configure(
        processors=[*_SHARED, last],
        logger_factory=lambda *name: _QueueLogger(writer, *name),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_LibraryHandler(writer, render))
    set_level(level)
    logging.captureWarnings(capture=True)
    return writer


def lines_dropped() -> int:
    """Log lines dropped since logging was configured last; a number for the metrics."""
    return 0 if _writer is None else _writer.dropped


def flush_log() -> None:
    """Have written what was logged so far, for at most half a second: before an end."""
    if _writer is not None:
        _writer.flush(0.5)


def set_level(level: str) -> None:
    """Change the least level written, while running."""
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
    logging.getLogger().setLevel(number)
    for name, least in _LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(max(least, number))


def _dropped_line(count: int, render: Render) -> bytes:
    entry: EventDict = {
        "event": "log lines dropped",
        "count": count,
        "reason": "the output was blocked",
    }
    return _rendered(entry, "warning", render)
