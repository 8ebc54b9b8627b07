"""How the service is seen from outside: logs, metrics, traces.

Everything that talks to a collector or a pipe does so from a thread of its own behind a bounded
queue: a collector that hangs, or a log pipe that nobody reads, changes nothing for the data.
"""

from service.telemetry.logging import configure_logging, flush_log, lines_dropped, set_level
from service.telemetry.readings import Sources
from service.telemetry.setup import Telemetry
from service.telemetry.tracing import Tracing

__all__ = [
    "Sources",
    "Telemetry",
    "Tracing",
    "configure_logging",
    "flush_log",
    "lines_dropped",
    "set_level",
]
