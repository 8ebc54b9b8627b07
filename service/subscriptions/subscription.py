"""One client's wish to watch one topic, and how far it has got."""

from service.peer import Peer
from service.subscriptions.feed import ViewKey
from service.subscriptions.protocol import Overflow, Subscribe


class Subscription:
    """State of one subscription.

    Attributes:
        peer: Who gets the events.
        id_json: The client's name for it, as JSON.
        cursor: Number of the event in its view that it gets next, once it is live.
        missed: Records lost before they reached any view, to be told at the next write.
        gap_due: Whether the client has to be told of a gap, even one of unknown size.
        ended: Whether it is over, for whatever reason.
    """

    __slots__ = (
        "cursor",
        "ended",
        "gap_due",
        "id_json",
        "missed",
        "overflow",
        "peer",
        "start",
        "topic",
        "view_key",
        "where",
    )

    def __init__(self, peer: Peer, request: Subscribe, overflow: Overflow) -> None:
        self.peer = peer
        self.id_json = request.id_json
        self.topic = request.topic
        self.start = request.start
        self.where = request.where
        self.overflow = overflow
        self.view_key = ViewKey(request.where_json, overflow is Overflow.CONFLATE)
        self.cursor = 0
        self.missed = 0
        self.gap_due = False
        self.ended = False
