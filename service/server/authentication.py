"""Tokens in, principals out; the files behind them are read again when they change."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import structlog

from service.clock import wall_clock_s
from service.errors import ConfigurationError, ServiceError
from service.server.principal import ANYBODY, Principal
from service.server.signed_tokens import SignedTokens, load_signed_tokens
from service.server.tokens import hash_token, load_tokens
from service.settings import ServerSettings

_log = structlog.get_logger(__name__)

_Stamp: TypeAlias = tuple[int, int, int]

BROWSER_PREFIX = "token."
"""Start of the subprotocol in which a page sends its token."""


class RefusedError(ServiceError):
    """A client that may not connect.

    Args:
        status: HTTP status: 400, 401 or 403.
        reason: For the client; says nothing about tokens.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def find_token(authorization: Sequence[str], subprotocols: Sequence[str]) -> str | None:
    """The one token of a request, from its header or its subprotocols.

    Raises:
        RefusedError: If there is more than one, or something else than a bearer token.
    """
    tokens = [p.removeprefix(BROWSER_PREFIX) for p in subprotocols if p.startswith(BROWSER_PREFIX)]
    for value in authorization:
        scheme, _, credentials = value.partition(" ")
        if scheme.lower() != "bearer" or not credentials.strip():
            raise RefusedError(400, "Authorization: should be Bearer <token>")
        tokens.append(credentials.strip())
    if len(tokens) > 1:
        raise RefusedError(400, "more than one token")
    return tokens[0] if tokens else None


class Authenticator:
    """Knows who a token belongs to, now.

    Args:
        settings: Which files, and whether tokens are needed at all.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._tokens: Mapping[str, Principal] = {}
        self._signed: SignedTokens | None = None
        self._stamps: dict[Path, _Stamp] = {}
        self.required = settings.tokens_file is not None or settings.jwt is not None
        """Whether every client needs a token."""
        self.revision = 0
        """Grows when a file has been read again: what was decided before may be wrong now."""

    async def load(self) -> None:
        """Read the files for the first time.

        Raises:
            ConfigurationError: If one of them cannot be used.
        """
        await asyncio.to_thread(self._load)

    async def refresh(self) -> None:
        """Read the files again if they have changed; a broken one leaves the last good one."""
        try:
            await asyncio.to_thread(self._reload_changed)
        except ConfigurationError as error:
            _log.error("token file not usable, the last good one stays", problem=str(error))

    def identify(self, token: str | None) -> Principal:
        """Who shows ``token``.

        Raises:
            RefusedError: 401 if it is missing where it is needed, unknown or expired.
        """
        if not self.required:
            return ANYBODY
        principal = None if token is None else self._find(token)
        if principal is None or principal.expired(wall_clock_s()):
            raise RefusedError(401, "a valid bearer token is required")
        return principal

    def _find(self, token: str) -> Principal | None:
        principal = self._tokens.get(hash_token(token))
        if principal is None and self._signed is not None:
            principal = self._signed.check(token)
        return principal

    def _reload_changed(self) -> None:
        if self._stamps != {path: _stamp(path) for path in self._paths()}:
            self._load()
            _log.info("tokens read again")

    def _load(self) -> None:
        """Read every file, and tell what is wrong after the last: each stands for itself."""
        self._stamps = {path: _stamp(path) for path in self._paths()}
        problems: list[str] = []
        if self._settings.tokens_file is not None:
            try:
                self._tokens = load_tokens(self._settings.tokens_file)
            except ConfigurationError as error:
                problems += error.problems
        if self._settings.jwt is not None:
            try:
                self._signed = load_signed_tokens(self._settings.jwt)
            except ConfigurationError as error:
                problems += error.problems
        self.revision += 1
        if problems:
            # reported once, not every second: the stamps are those of the broken file
            raise ConfigurationError(problems)

    def _paths(self) -> list[Path]:
        paths = [self._settings.tokens_file]
        if self._settings.jwt is not None:
            paths.append(self._settings.jwt.jwks_file)
        return [path for path in paths if path is not None]


def _stamp(path: Path) -> _Stamp:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0, 0)
    # not of the content's last change: rights that are mended are a change too
    return (stat.st_ctime_ns, stat.st_size, stat.st_ino)
