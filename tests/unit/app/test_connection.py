"""What is said of a file of the connection that cannot be used."""

from pathlib import Path

import pytest

from service.app.connection import connection_options
from service.settings import KafkaSettings

GARBAGE = "no certificate"


def _settings(**files: Path) -> KafkaSettings:
    return KafkaSettings.model_validate(
        {"bootstrap_servers": ["broker:9093"], "security_protocol": "SSL", **files}
    )


@pytest.mark.parametrize("content", [None, GARBAGE], ids=["gone", "garbage"])
def test_an_authority_that_cannot_be_read_is_named(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)

    with pytest.raises(OSError, match=f"kafka.ssl_cafile {file}: "):
        connection_options(_settings(ssl_cafile=file))


@pytest.mark.parametrize("content", [None, GARBAGE], ids=["gone", "garbage"])
def test_a_certificate_and_key_that_cannot_be_read_are_named(
    content: str | None, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "client.pem", tmp_path / "key.pem"
    if content is not None:
        certificate.write_text(content)
        key.write_text(content)

    with pytest.raises(OSError, match=f"kafka.ssl_certfile {certificate} with {key}: "):
        connection_options(_settings(ssl_certfile=certificate, ssl_keyfile=key))
