"""Which web pages may connect: an exact list, never a pattern.

A browser always sends ``Origin``, other clients mostly do not.  So a missing one passes where it
comes with a token, or where nobody needs one; it is never how a page gets around the list.
"""

from collections.abc import Collection

LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "[::1]"))


class OriginPolicy:
    """Decides about the ``Origin`` and ``Host`` headers.

    Args:
        allowed: Exact origins, as ``https://dash.example.com``.
        scheme: ``http`` or ``https``, as this server is reached directly.
        port: The port that it listens on.
        loopback: Whether it listens on the loopback interface only.
        tokens: Whether every client needs a token.
    """

    def __init__(
        self,
        allowed: Collection[str],
        *,
        scheme: str,
        port: int,
        loopback: bool,
        tokens: bool,
    ) -> None:
        own = {f"{scheme}://{name}:{port}" for name in LOOPBACK_NAMES}
        self._allowed = frozenset(allowed) | own
        self._loopback = loopback
        self._tokens = tokens

    def allows(self, origins: list[str], host: str | None) -> bool:
        """Whether a handshake with these ``Origin`` values may go on.

        The caller has refused duplicates.  With tokens, a page may also connect to the very host
        that it came from: what a rebound name cannot do is to know a token.
        """
        if not origins:
            return True  # not a browser; whether it needs a token is authentication's to say
        origin = origins[0]
        if origin in self._allowed:
            return True
        return self._tokens and host is not None and origin in {f"http://{host}", f"https://{host}"}

    def allows_host(self, host: str | None) -> bool:
        """Whether a request that shows no token may ask for this ``Host``.

        A page of another site can point its own name at 127.0.0.1 and then read what it likes
        without any ``Origin``; its name in ``Host`` gives it away.
        """
        if self._tokens or not self._loopback:
            return True
        if host is None:
            return False
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        return name in LOOPBACK_NAMES or any(
            origin.partition("://")[2] == host for origin in self._allowed
        )
