"""Whether the process is alive and ready, what it is doing, and what holds it up.

The event loop writes a snapshot of facts twice a second; a thread of its own answers probes,
scrapes and ``/status`` from it.  So a blocked loop is reported instead of timing out, and a
scraper that does not read cannot slow the loop.  Nothing here asks Kafka anything.
"""

from service.health.board import StatusBoard
from service.health.routes import admin_routes
from service.health.server import AdminServer
from service.health.watchdog import LoopWatchdog

__all__ = [
    "AdminServer",
    "LoopWatchdog",
    "StatusBoard",
    "admin_routes",
]
