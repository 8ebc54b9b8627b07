"""What a client that lives uses for the connections that it makes later."""

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any

import aiokafka.client
import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.app.connection import connection_options
from service.rotation import PRIVATE_NAMES
from service.settings import KafkaSettings


class Connections:
    """Notes what each connection would be made with, and makes none."""

    def __init__(self) -> None:
        self.passwords: list[str | None] = []
        self.contexts: list[Any] = []

    async def __call__(self, *_: object, **options: Any) -> None:
        self.passwords.append(options["sasl_plain_password"])
        self.contexts.append(options["ssl_context"])
        raise OSError("none is made")


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Connections:
    made = Connections()
    monkeypatch.setattr(aiokafka.client, "create_conn", made)
    return made


async def _connect(client: AIOKafkaClient) -> None:
    with pytest.raises(KafkaConnectionError):
        await client.bootstrap()


def _authority(file: Path, name: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


async def _client(**settings: Any) -> AIOKafkaClient:
    kafka = KafkaSettings.model_validate({"bootstrap_servers": ["broker:9093"], **settings})
    return AIOKafkaClient(**await asyncio.to_thread(connection_options, kafka))


def _login(file: Path) -> dict[str, Any]:
    return {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "headrace",
        "sasl_plain_password_file": file,
    }


async def test_a_connection_is_made_with_the_password_of_its_moment(
    connections: Connections, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("old\n")
    client = await _client(**_login(file))
    await _connect(client)

    file.write_text("new\n")
    await _connect(client)

    assert connections.passwords == ["old", "new"]


async def test_while_a_password_is_being_replaced_the_last_one_is_used(
    connections: Connections, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("old")
    client = await _client(**_login(file))
    file.unlink()

    await _connect(client)

    assert connections.passwords == ["old"]


async def test_a_connection_is_made_with_the_certificates_of_its_moment(
    connections: Connections, tmp_path: Path
) -> None:
    file, next_one = tmp_path / "ca.pem", tmp_path / "next.pem"
    _authority(file, "old")
    client = await _client(security_protocol="SSL", ssl_cafile=file)
    await _connect(client)
    await _connect(client)

    _authority(next_one, "new")
    next_one.replace(file)
    await _connect(client)
    file.write_text("half of a certi")
    await _connect(client)

    first, again, replaced, broken = connections.contexts
    names = [dict(*each.get_ca_certs()[0]["subject"]) for each in (first, replaced)]
    assert [name["commonName"] for name in names] == ["old", "new"]
    assert first is again
    assert broken is replaced


async def test_what_is_given_in_place_is_used_as_it_is(connections: Connections) -> None:
    client = await _client(
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username="headrace",
        sasl_plain_password="in place",  # noqa: S106 -- of nobody
    )

    await _connect(client)

    assert connections.passwords == ["in place"]


def test_the_names_that_are_replaced_exist() -> None:
    assert PRIVATE_NAMES == {"aiokafka.client": ("create_conn",)}
    assert callable(aiokafka.client.create_conn)
