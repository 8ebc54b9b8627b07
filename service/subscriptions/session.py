"""One dashboard's connection: its requests, its limits, its subscriptions."""

from collections.abc import Callable

import structlog

from service.peer import CloseCode, Peer
from service.subscriptions.hub import SubscriptionHub
from service.subscriptions.protocol import (
    Ping,
    Request,
    RequestError,
    Subscribe,
    Unsubscribe,
    parse_request,
    pong_frame,
    unsubscribed_frame,
)
from service.subscriptions.subscription import Subscription

_log = structlog.get_logger(__name__)

MAX_BAD_MESSAGES = 10
"""Refused requests after which a connection is closed: it is not a dashboard."""


class SubscriberSession:
    """Serves one peer until it goes away.

    Args:
        peer: The connection.
        hub: Serves the subscriptions.
        may_read: Whether this client may watch a topic; asked at every subscribe, and of all that
            it watches by :meth:`may_go_on`.
        max_subscriptions: Most of them at once.
    """

    def __init__(
        self,
        peer: Peer,
        hub: SubscriptionHub,
        *,
        may_read: Callable[[str], bool],
        max_subscriptions: int,
    ) -> None:
        self._peer = peer
        self._hub = hub
        self._may_read = may_read
        self._max_subscriptions = max_subscriptions
        self._subscriptions: dict[bytes, Subscription] = {}
        self._refused = 0

    async def run(self) -> None:
        """Answer requests until the connection ends, then drop its subscriptions."""
        self._hub.counters.connections += 1
        try:
            async for message in self._peer.messages():
                self._answer(message)
        finally:
            self._hub.counters.connections -= 1
            for subscription in self._subscriptions.values():
                self._hub.unsubscribe(subscription)

    def may_go_on(self) -> bool:
        """Whether the client may still watch everything that it watches."""
        return all(
            subscription.ended or self._may_read(subscription.topic)
            for subscription in self._subscriptions.values()
        )

    def _answer(self, message: str | bytes) -> None:
        try:
            self._serve(parse_request(message))
        except RequestError as error:
            if error.code == "bad_message":
                self._peer.close_soon(CloseCode.BAD_REQUEST, str(error))
                return
            self._refused += 1
            if self._refused > MAX_BAD_MESSAGES:
                self._peer.close_soon(CloseCode.BAD_REQUEST, "too many refused requests")
                return
            self._peer.write(error.frame())

    def _serve(self, request: Request) -> None:
        match request:
            case Subscribe():
                self._subscribe(request)
            case Unsubscribe(id_json=id_json):
                self._unsubscribe(id_json)
            case Ping(id_json=id_json):
                self._peer.write(pong_frame(id_json))

    def _subscribe(self, request: Subscribe) -> None:
        id_json = request.id_json
        if not self._may_read(request.topic):
            # said in the same way for topics that do not exist: names are not for guessing
            raise RequestError("forbidden", "topic: not allowed", id_json=id_json)
        current = self._subscriptions.get(id_json)
        if current is not None and not current.ended:
            raise RequestError("bad_request", "id: already subscribed", id_json=id_json)
        self._forget_ended()
        if len(self._subscriptions) >= self._max_subscriptions:
            message = f"more than {self._max_subscriptions} subscriptions"
            raise RequestError("too_many", message, id_json=id_json)
        self._subscriptions[id_json] = self._hub.subscribe(self._peer, request)

    def _unsubscribe(self, id_json: bytes) -> None:
        subscription = self._subscriptions.pop(id_json, None)
        if subscription is None:
            raise RequestError("bad_request", "id: not subscribed", id_json=id_json)
        self._hub.unsubscribe(subscription)
        self._peer.write(unsubscribed_frame(id_json))

    def _forget_ended(self) -> None:
        for id_json in [i for i, s in self._subscriptions.items() if s.ended]:
            # the hub still has one whose client is being disconnected for it
            self._hub.unsubscribe(self._subscriptions.pop(id_json))
