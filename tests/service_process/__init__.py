"""Runs the service as users do: as a process of its own, configured by a file, ended by signals."""

from tests.service_process.process import ServiceProcess, log_pipeline, log_topics, user_environ

__all__ = ["ServiceProcess", "log_pipeline", "log_topics", "user_environ"]
