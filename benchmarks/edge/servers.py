"""The servers under test, as processes: ``headrace run`` itself, and the plain one beside it."""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.harness.meter import rss_mb_of, usage_of
from tests.service_process import ServiceProcess

MAX_CONNECTIONS = 5000


@dataclass(frozen=True, slots=True)
class Server:
    """A process that listens.

    Attributes:
        pid: Its process id.
        port: Where clients connect.
        service: Its handle if it is ours.
    """

    pid: int
    port: int
    service: ServiceProcess | None = None

    @property
    def cpu_s(self) -> float:
        """Processor time so far."""
        return usage_of(self.pid).cpu_s

    @property
    def rss_mib(self) -> float:
        """Resident memory now."""
        return rss_mb_of(self.pid) * 1e6 / 2**20

    async def metric(self, name: str) -> float:
        """See :meth:`ServiceProcess.metric`."""
        assert self.service is not None
        return await self.service.metric(name)


@asynccontextmanager
async def headrace(
    bootstrap: str, topic: str, *, sources: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Server]:
    """``headrace run`` with one log pipeline whose results go to ``topic``, which may be watched.

    Args:
        bootstrap: Kafka.
        topic: Output of the pipeline.
        sources: Of the pipeline; a WebSocket by default.
        settings: More sections of the configuration.
    """
    config = {
        "admin": {"port": 0},
        "server": {"port": 0, "max_connections": MAX_CONNECTIONS},
        "subscriptions": {"topics": [topic]},
        "pipelines": {
            "logs": {
                "sources": sources or {"websocket": {"path": "/ingest/logs"}},
                "normalizer": "log",
                "dead_letter": f"{topic}.dead",
                "handlers": {
                    "alerts": {
                        "use": "log_alerts",
                        "where": {"field": "level", "in": ["WARN", "ERROR"]},
                        "output": topic,
                    }
                },
            }
        },
        **settings,
    }
    with tempfile.TemporaryDirectory(prefix="headrace-edge-") as directory:
        async with ServiceProcess(bootstrap, config, Path(directory)) as service:
            await service.wait_logged("public port open")
            await service.wait_logged("admin port open")
            url = urlsplit(service.events("public port open")[0]["url"])
            yield Server(service.pid, url.port or 0, service)


@asynccontextmanager
async def plain(bootstrap: str, topic: str) -> AsyncIterator[Server]:
    """The broadcast server of ``plain.py``."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.edge.plain", bootstrap, topic,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield Server(process.pid, int(await process.stdout.readline()))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()  # with all that it has buffered it would not end by itself
        await process.wait()
