"""Who a client is, and what it may do."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

EVERYTHING = "*"
"""In place of a list of names: all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A client that has shown a token, or anybody where no token is needed.

    Attributes:
        name: For logs and limits; ``None`` for anybody.
        pipelines: Names of the pipelines that it may send events to.
        topics: Names of the topics that it may watch.
        expires_at_s: Seconds since the Unix epoch; ``None`` is never.
    """

    name: str | None
    pipelines: frozenset[str]
    topics: frozenset[str]
    expires_at_s: float | None = None

    def may_ingest(self, pipeline: str) -> bool:
        """Whether it may send events to ``pipeline``."""
        return EVERYTHING in self.pipelines or pipeline in self.pipelines

    def may_read(self, topic: str) -> bool:
        """Whether it may watch ``topic``."""
        return EVERYTHING in self.topics or topic in self.topics

    def expired(self, now_s: float) -> bool:
        """Whether its token is no longer good."""
        return self.expires_at_s is not None and now_s >= self.expires_at_s


ANYBODY = Principal(name=None, pipelines=frozenset((EVERYTHING,)), topics=frozenset((EVERYTHING,)))
"""Where no token is needed."""


def keys_shown_to(
    principal: Principal, *, watched: Collection[str], loopback: bool
) -> Callable[[str], bool]:
    """Which topics' records ``principal`` may know the keys of, which are payload.

    Nobody has said what somebody without a token may read, beside what may be watched; on a
    loopback address it is whoever runs the service.

    Args:
        principal: Who asks.
        watched: Topics that may be watched.
        loopback: Whether the service listens on the loopback interface only.
    """
    if principal.name is None and not loopback:
        return lambda topic: topic in watched
    return principal.may_read
