"""A pod that goes and one that comes: dashboards resume, and TLS certificates are replaced."""

import asyncio
import datetime as dt
import ssl
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.edge.clients import Client, open_clients
from tests.edge.serving import Edge, serving

CLIENTS = 200
STORED = 300


class Dashboard:
    """Counts offsets, and remembers where to go on."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.position: dict[str, int] = {}
        self.gaps = 0

    def hear(self, payload: bytes) -> None:
        message = orjson.loads(payload)
        self.offsets += [event["offset"] for event in message.get("events", ())]
        self.gaps += message["type"] == "gap"
        self.position = message.get("next") or message.get("positions") or self.position

    async def watch(self, edge: Edge) -> Client:
        start: Any = {"offsets": self.position} if self.position else "latest"
        wish = {"type": "subscribe", "id": 1, "topic": "alerts", "from": start}
        [client] = await open_clients(1, edge.port, "/subscribe", orjson.dumps(wish), self.hear)
        return client


async def until(done: Any) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.05)


async def test_a_herd_that_comes_back_to_a_new_pod_misses_nothing() -> None:
    dashboards = [Dashboard() for _ in range(CLIENTS)]
    async with serving() as old:
        clients = await asyncio.gather(*(each.watch(old) for each in dashboards))
        await until(lambda: all(each.position for each in dashboards))
        for n in range(STORED // 3):
            old.log.append("alerts", {"n": n})
        await until(lambda: all(len(each.offsets) == STORED // 3 for each in dashboards))
        log = old.log
    for n in range(STORED // 3, 2 * STORED // 3):
        log.append("alerts", {"n": n})
    async with serving(log=log) as new:
        opened = log.opened
        again = await asyncio.gather(*(each.watch(new) for each in dashboards))
        for n in range(2 * STORED // 3, STORED):
            log.append("alerts", {"n": n})
        await until(lambda: all(len(each.offsets) >= STORED for each in dashboards))
        readers = log.opened - opened
        for client in again:
            client.transport.abort()

    assert {client.close_code for client in clients} == {1012}
    assert all(each.offsets == list(range(STORED)) for each in dashboards)
    assert sum(each.gaps for each in dashboards) == 0
    assert readers == 1


def certificate(path: Path, serial: int) -> dict[str, Path]:
    """A self-signed certificate for 127.0.0.1, in files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    files = {"tls_cert_file": path / "cert.pem", "tls_key_file": path / "key.pem"}
    files["tls_key_file"].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    files["tls_cert_file"].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return files


async def serial_of(edge: Edge) -> int:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", edge.port, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return x509.load_der_x509_certificate(der).serial_number


async def test_a_replaced_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    async with serving(settings=dict(certificate(tmp_path, 1))) as edge:
        first = await serial_of(edge)
        await asyncio.to_thread(certificate, tmp_path, 2)
        await asyncio.sleep(2.5)
        second = await serial_of(edge)

    assert (first, second) == (1, 2)


async def test_a_certificate_without_its_key_leaves_the_last_good_pair(tmp_path: Path) -> None:
    settings = dict(certificate(tmp_path, 1))
    key_file = Path(settings["tls_key_file"])
    async with serving(settings=settings) as edge:
        key = await asyncio.to_thread(key_file.read_bytes)
        await asyncio.to_thread(certificate, tmp_path, 2)
        await asyncio.to_thread(key_file.write_bytes, key)
        await asyncio.sleep(2.5)
        serial = await serial_of(edge)

    assert serial == 1
