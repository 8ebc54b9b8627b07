"""A public server on a free port of the loopback address, over an in-memory log."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from service.channels import Receiver, channel
from service.consumers.websocket import WebSocketSource
from service.events import RecordBatch
from service.server.admission import StatusFor
from service.server.routes import ingest_route, subscribe_route
from service.server.server import PublicServer
from service.server.tokens import hash_token
from service.settings import ServerSettings, SubscriptionsSettings
from service.subscriptions.hub import SubscriptionHub
from tests.edge.fakes import FakeLog

READER = "reader-token-0123456789"
WRITER = "writer-token-0123456789"


class Edge:
    """What a test needs of one running server."""

    def __init__(
        self,
        server: PublicServer,
        hub: SubscriptionHub,
        log: FakeLog,
        inbox: Receiver[RecordBatch],
        source: WebSocketSource,
    ) -> None:
        self.server = server
        self.hub = hub
        self.log = log
        self.inbox = inbox
        self.source = source

    @property
    def port(self) -> int:
        return self.server.port

    def url(self, path: str = "/subscribe") -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def connect(self, path: str = "/subscribe", **options: Any) -> connect:
        return connect(self.url(path), **{"compression": None, "proxy": None, **options})


@asynccontextmanager
async def serving(
    *,
    settings: dict[str, Any] | None = None,
    capacity: int = 1000,
    status: StatusFor | None = None,
    log: FakeLog | None = None,
) -> AsyncIterator[Edge]:
    server_settings = ServerSettings.model_validate({"port": 0, **(settings or {})})
    subscriptions = SubscriptionsSettings(topics=("alerts", "secrets", "logs.dead"))
    if log is None:
        log = FakeLog(alerts=2, secrets=1)
        log.topics["logs.dead"] = {0: []}
    hub = SubscriptionHub(log)
    sender, receiver = channel[RecordBatch](capacity)
    source = WebSocketSource("websocket")
    server = PublicServer(
        server_settings,
        {
            "/subscribe": subscribe_route(hub, subscriptions, server_settings),
            "/ingest/logs": ingest_route(source, "logs"),
        },
        status=status or _no_figures,
        topics={"alerts": False, "secrets": False, "logs.dead": True},
        counters=hub.counters,
    )
    with sender, receiver:
        async with asyncio.TaskGroup() as tasks:
            hub.start(tasks)
            reading = tasks.create_task(source.run(sender))
            await server.start(tasks)
            try:
                yield Edge(server, hub, log, receiver, source)
            finally:
                source.stop_intake()
                await server.stop(2.0)
                hub.stop()
                reading.cancel()


async def _no_figures(keys_shown: Callable[[str], bool]) -> dict[str, Any]:
    del keys_shown
    return {"pipelines": {}}


def token_file(path: Path, *, writer_expires_at: str = "2999-01-01T00:00:00Z") -> Path:
    file = path / "tokens.yaml"
    file.write_text(
        f"""
tokens:
  - {{name: dashboard, sha256: {hash_token(READER)}, topics: [alerts]}}
  - name: producer
    sha256: {hash_token(WRITER)}
    pipelines: [logs]
    expires_at: {writer_expires_at}
""",
        encoding="utf-8",
    )
    return file


__all__ = ["READER", "WRITER", "ClientConnection", "Edge", "serving", "token_file"]
