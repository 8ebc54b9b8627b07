"""Whether this member may still act for its group.

The client goes on delivering records long after the group has given its partitions to somebody
else: heartbeats fail quietly, and a process that was stopped and continued does not know that it
slept.  So dispatch and commit need a lease, which every answered heartbeat renews.

Pure: times are ``loop.time()`` seconds, handed in.  A suspended machine (not process) may not
count its sleep there; the broker's fencing of the commit is what remains then.
"""

_SHARE = 0.7
"""Of the session timeout, after which a member stops by itself; the rest is what is in flight's."""


class Lease:
    """Held while the last good heartbeat is younger than 0.7 times the session timeout.

    >>> lease = Lease(session_timeout_s=30.0)
    >>> lease.held(0.0)  # not joined yet
    False
    >>> lease.renew(100.0)
    >>> lease.held(120.9), lease.held(121.0)
    (True, False)

    Args:
        session_timeout_s: After this many seconds without a heartbeat the group gives the
            partitions away.

    Attributes:
        expires_at_s: When it ends unless renewed; minus infinity when there is none.
    """

    __slots__ = ("_duration_s", "expires_at_s")

    def __init__(self, session_timeout_s: float) -> None:
        self._duration_s = _SHARE * session_timeout_s
        self.expires_at_s = float("-inf")

    def renew(self, sent_at_s: float) -> None:
        """A heartbeat or a join was accepted.

        Args:
            sent_at_s: When it was *sent*: the broker's session starts when it reads the request,
                which can be long before the answer is here.  Late answers never shorten.
        """
        self.expires_at_s = max(self.expires_at_s, sent_at_s + self._duration_s)

    def give_up(self) -> None:
        """The group no longer knows this member; only a new join can renew the lease."""
        self.expires_at_s = float("-inf")

    def held(self, now_s: float) -> bool:
        """Whether dispatch and commit are allowed at ``now_s``."""
        return now_s < self.expires_at_s
