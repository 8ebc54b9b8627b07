"""The public port of one process: ingest routes, subscriptions, live page."""

import asyncio
from collections.abc import Mapping

from service.app.connection import connection_options
from service.consumers.kafka_reader import KafkaReaders
from service.consumers.websocket import WebSocketSource
from service.metrics import HubCounters
from service.server.admission import Route, StatusFor
from service.server.routes import ingest_route, subscribe_route
from service.server.server import PublicServer
from service.settings import Settings
from service.subscriptions.feed import Bounds
from service.subscriptions.hub import SubscriptionHub
from service.subscriptions.protocol import Overflow


class Edge:
    """Serves producers and dashboards.

    Args:
        settings: The configuration.
        ingest: Sources that take events from clients: path and pipeline of each.
        status: Makes what ``/api/status`` shows.
        reuse_port: Whether several processes listen on the port.
    """

    def __init__(
        self,
        settings: Settings,
        ingest: Mapping[str, tuple[str, WebSocketSource]],
        *,
        status: StatusFor,
        reuse_port: bool = False,
    ) -> None:
        self.counters = HubCounters()
        watched = settings.subscriptions
        self._hub = SubscriptionHub(
            KafkaReaders(lambda: connection_options(settings.kafka)),
            bounds=Bounds(
                queue_events=watched.queue_events,
                queue_bytes=watched.queue_bytes,
                window_events=watched.history_events,
                window_bytes=watched.history_bytes,
            ),
            overflow=Overflow(watched.overflow),
            counters=self.counters,
        )
        routes: dict[str, Route] = {
            path: ingest_route(source, pipeline) for path, (pipeline, source) in ingest.items()
        }
        routes["/subscribe"] = subscribe_route(self._hub, watched, settings.server)
        dead_letters = {pipeline.dead_letter for pipeline in settings.pipelines.values()}
        self._server = PublicServer(
            settings.server,
            routes,
            status=status,
            topics={topic: topic in dead_letters for topic in watched.topics},
            counters=self.counters,
            reuse_port=reuse_port,
        )

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Listen.

        Raises:
            ConfigurationError: If the address, a token file or a certificate cannot be used.
        """
        self._hub.start(tasks)
        await self._server.start(tasks)

    def refuse_new(self) -> None:
        """Take no new connections."""
        self._server.refuse_new()

    def dismiss(self) -> None:
        """Send elsewhere who does not wait for an answer; the others when they have got it."""
        self._server.dismiss()
        self._hub.stop()

    async def stop(self, deadline_s: float) -> None:
        """Tell every client to come back elsewhere, and end.  Never raises."""
        await self._server.stop(deadline_s)
        self._hub.stop()
