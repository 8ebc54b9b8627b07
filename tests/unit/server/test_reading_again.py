"""Files that could not be read, because of their rights, are read once these are mended."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError
from service.server import authentication
from service.server.authentication import Authenticator
from service.server.tls import ServerTls
from service.settings import ServerSettings
from tests.edge.serving import READER, token_file


def _mend_rights(file: Path) -> None:
    """What `chmod` does, once the clock of the file system has gone on."""
    before_ns = file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == before_ns:
        file.chmod(0o644)


async def test_tokens_are_read_when_their_file_has_become_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text("tokens: []")
    authenticator = Authenticator(ServerSettings(tokens_file=tokens))
    await authenticator.load()
    token_file(tmp_path)
    with monkeypatch.context() as denied:
        denied.setattr(authentication, "load_tokens", _refuse)
        await authenticator.refresh()
    _mend_rights(tokens)

    await authenticator.refresh()

    assert authenticator.identify(READER).name == "dashboard"


def _refuse(*_: Any) -> None:
    raise ConfigurationError(["tokens_file: [Errno 13] Permission denied"])


async def test_a_certificate_is_read_when_its_key_has_become_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    for file in files:
        file.touch()
    readable, read = False, 0

    def read_pair(*_: Any) -> None:
        nonlocal read
        if not readable:
            raise PermissionError(13, "Permission denied")
        read += 1

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", read_pair)
    certificate = ServerTls(*files)
    await certificate.refresh()
    readable = True
    _mend_rights(files[1])

    await certificate.refresh()

    assert read > 0
