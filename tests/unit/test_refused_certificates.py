"""What is told of a broker that does not take the certificate of a client, or misses it."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.cli.kafka_tools import kafka_tools
from service.errors import BrokerUnavailableError
from service.settings import KafkaSettings

pytestmark = pytest.mark.real_loops


def _certificate(file: Path) -> Path:
    """A key for 127.0.0.1 with a certificate that it has signed itself, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    now, name = dt.datetime.now(dt.UTC), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return file


async def _hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize("shown", ["none", "unknown"])
async def test_a_client_certificate_that_is_refused_is_told(tmp_path: Path, shown: str) -> None:
    broker = _certificate(tmp_path / "broker.pem")
    stranger = _certificate(tmp_path / "stranger.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=broker)
    context.load_cert_chain(broker)
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(_hang_up, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    settings = KafkaSettings(
        bootstrap_servers=(f"127.0.0.1:{port}",),
        security_protocol="SSL",
        ssl_cafile=broker,
        ssl_certfile=stranger if shown == "unknown" else None,
        ssl_keyfile=stranger if shown == "unknown" else None,
    )

    async with server, kafka_tools(settings) as tools:
        with pytest.raises(BrokerUnavailableError) as told:
            await tools.partitions(["logs"])

    assert str(told.value).startswith(f"127.0.0.1:{port}: TLS: the broker hung up")
    assert "refuses the client certificate" in str(told.value)
