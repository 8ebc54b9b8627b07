"""The composition root: the graph of a configuration, its lifecycle, and the facts about it."""

from service.app.application import Application
from service.app.report import ExitReport
from service.app.run import EXIT_OK, EXIT_TEMPORARY, run_service

__all__ = ["EXIT_OK", "EXIT_TEMPORARY", "Application", "ExitReport", "run_service"]
