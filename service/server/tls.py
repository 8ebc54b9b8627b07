"""The server's certificate, read again when it is replaced."""

import asyncio
import ssl
from pathlib import Path

import structlog

from service.errors import ConfigurationError

_log = structlog.get_logger(__name__)


class ServerTls:
    """A TLS context whose certificate follows its files; open connections keep theirs.

    Args:
        cert_file: PEM certificate chain.
        key_file: PEM key.
    """

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        self._cert_file = cert_file
        self._key_file = key_file
        self._stamp: tuple[int, int] | None = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2

    async def load(self) -> None:
        """Read the files.

        Raises:
            ConfigurationError: If they are no certificate and its key.
        """
        try:
            await asyncio.to_thread(self._load)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError([f"server.tls_cert_file: {error}"]) from error

    async def refresh(self) -> None:
        """Read the files again if they have changed; broken ones leave the last good pair."""
        try:
            await asyncio.to_thread(self._load)
        except (OSError, ssl.SSLError) as error:
            _log.error("certificate not usable, the last good one stays", problem=str(error))

    def _load(self) -> None:
        # not of the content's last change: rights that are mended are a change too
        stamp = (self._cert_file.stat().st_ctime_ns, self._key_file.stat().st_ctime_ns)
        if stamp != self._stamp:
            self._stamp = stamp
            # Tried elsewhere first: a certificate whose key does not fit, as between the writing
            # of the two files, would stay in the context without any key.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._cert_file, self._key_file)
            self.context.load_cert_chain(self._cert_file, self._key_file)
