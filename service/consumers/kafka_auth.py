"""The client's own type for bearer tokens, filled from wherever the token is kept."""

from collections.abc import Callable

from aiokafka.abc import AbstractTokenProvider


class _Provider(AbstractTokenProvider):  # type: ignore[misc]  # the client has no types
    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read

    # The base has no annotations, and its body, which only raises, is taken for one.
    async def token(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._read()


def file_token_provider(read: Callable[[], str]) -> AbstractTokenProvider:
    """A provider that calls ``read`` for every connection, so that a rotated token is used."""
    return _Provider(read)
