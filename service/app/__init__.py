"""The composition root: the graph of a configuration, its lifecycle, and the facts about it."""

from service.app.application import Application
from service.app.run import run_service

__all__ = ["Application", "run_service"]
