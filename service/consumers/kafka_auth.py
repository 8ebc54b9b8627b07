"""The client's own type for bearer tokens, filled from wherever the token is kept."""

from collections.abc import Callable

from aiokafka.abc import AbstractTokenProvider


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # the client has no types
    """Calls ``read`` for every connection, so that a rotated token is used."""

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read

    # The base has no annotations, and its body, which only raises, is taken for one.
    async def token(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The token of now."""
        return self._read()
