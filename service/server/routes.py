"""What answers on the public port's WebSocket paths."""

from service.consumers.websocket import WebSocketSource
from service.server.admission import Route
from service.server.connection import EdgeConnection
from service.server.principal import Principal
from service.settings import ServerSettings, SubscriptionsSettings
from service.subscriptions.hub import SubscriptionHub
from service.subscriptions.session import SubscriberSession


def subscribe_route(
    hub: SubscriptionHub, settings: SubscriptionsSettings, server: ServerSettings
) -> Route:
    """``/subscribe``: dashboards."""
    topics = frozenset(settings.topics)

    async def serve(connection: EdgeConnection) -> None:
        session = SubscriberSession(
            connection,
            hub,
            # the principal is looked up each time: its token's file may have changed
            may_read=lambda topic: topic in topics and connection.principal.may_read(topic),
            max_subscriptions=server.max_subscriptions,
        )
        connection.may_go_on = session.may_go_on
        await session.run()

    return Route(serve, allowed=lambda principal: bool(principal.topics))


def ingest_route(source: WebSocketSource, pipeline: str) -> Route:
    """``/ingest/<name>``: producers of events."""

    def allowed(principal: Principal) -> bool:
        return principal.may_ingest(pipeline)

    async def serve(connection: EdgeConnection) -> None:
        connection.owes = source.owes
        await source.serve(connection)

    return Route(serve, allowed=allowed)
