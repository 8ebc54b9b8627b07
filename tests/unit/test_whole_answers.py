"""Answers come out as a stream reader gives them, however the bytes arrive."""

import asyncio
import datetime as dt
import ipaddress
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.client import AIOKafkaClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from service import whole_answers
from service.whole_answers import KEPT_BYTES, WholeAnswers, read_whole_answers


class Transport:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_protocol(self, protocol: Any) -> None:
        assert not self.reading
        self.protocol = protocol

    def is_closing(self) -> bool:
        return False


class Connection:
    """As the client's, without a socket; its reader reads from the start."""

    def __init__(self) -> None:
        self.transport = Transport()
        self._reader: Any = asyncio.StreamReader(limit=64, loop=asyncio.get_running_loop())
        self._writer = SimpleNamespace(transport=self.transport)
        self._protocol = asyncio.StreamReaderProtocol(self._reader)
        self._reader.set_transport(cast("Any", self.transport))
        self.frames: list[bytes] = []
        self.task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        reader = self._reader
        while True:
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            self.frames.append(await reader.readexactly(size))

    @property
    def answers(self) -> WholeAnswers:
        protocol = self.transport.protocol
        assert isinstance(protocol, WholeAnswers)
        return protocol

    def receive(self, data: bytes, at_most: int = 1 << 30) -> None:
        """As a transport does it, with reads of ``at_most`` bytes."""
        while data:
            if self.transport.protocol is None:
                self._reader.feed_data(data)
                return
            buffer = self.answers.get_buffer(-1)
            some = data[: min(len(buffer), at_most)]
            assert some
            buffer[: len(some)] = some
            self.answers.buffer_updated(len(some))
            data = data[len(some) :]


async def taken_over(connection: Connection) -> None:
    async def get_connection() -> Connection:
        return connection

    client = SimpleNamespace(_get_conn=get_connection)
    read_whole_answers(client)
    assert await client._get_conn() is connection
    protocol = connection.transport.protocol
    assert await client._get_conn() is connection
    assert connection.transport.protocol is protocol


def framed(frames: Sequence[bytes]) -> bytes:
    return b"".join(struct.pack(">i", len(frame)) + frame for frame in frames)


async def settle() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


@given(
    st.lists(st.binary(max_size=200), max_size=8),
    st.lists(st.tuples(st.integers(1, 150), st.integers(1, 90), st.booleans()), max_size=30),
    st.integers(0, 5),
    st.sampled_from([1, 8, 64]),
)
async def test_any_division_of_the_bytes_gives_the_same_answers(
    frames: list[bytes], pieces: list[tuple[int, int, bool]], before: int, small: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_answers, "SMALL_BYTES", small)
        patch.setattr(whole_answers, "KEPT_BYTES", 100)
        connection = Connection()
        rest = framed(frames)
        for number, (size, at_most, pause) in enumerate([*pieces, (len(rest) + 1, 1 << 30, True)]):
            if number == before:
                await settle()
                await taken_over(connection)
            connection.receive(rest[:size], at_most)
            rest = rest[size:]
            if pause:
                await settle()
        await settle()
        assert connection.frames == frames
        assert connection.transport.reading
        assert not connection._reader._buffer  # else it would not be at its end, ever
        connection.task.cancel()


async def test_what_it_waited_for_and_what_was_left_over_is_not_lost() -> None:
    connection = Connection()
    await settle()
    data = framed([b"first", b"second", b"third"])
    connection.receive(data[:2])
    await taken_over(connection)
    connection.receive(data[2:15])
    await settle()
    connection.receive(data[15:])
    await settle()

    assert connection.frames == [b"first", b"second", b"third"]
    assert connection.transport.reading
    connection.task.cancel()


async def test_a_transport_that_was_stopped_for_what_was_left_over_reads_on() -> None:
    connection = Connection()
    await settle()
    await taken_over(connection)
    connection.receive(framed([b"first", b"x" * 500]))
    stopped = not connection.transport.reading
    await settle()

    assert stopped
    assert connection.transport.reading
    assert connection.frames == [b"first", b"x" * 500]
    connection.task.cancel()


async def test_a_reader_that_has_stopped_its_transport_is_left_alone() -> None:
    connection = Connection()
    connection.receive(b"x" * 200)
    assert connection._reader._paused
    await taken_over(connection)

    assert connection.transport.protocol is None
    connection.task.cancel()


@pytest.mark.parametrize("missing", ["_reader", "_writer", "_protocol"])
async def test_a_connection_that_is_made_in_another_way_is_left_alone(missing: str) -> None:
    connection = Connection()
    setattr(connection, missing, None)
    await taken_over(connection)

    assert connection.transport.protocol is None
    connection.task.cancel()


async def test_a_client_that_is_made_in_another_way_is_left_alone() -> None:
    client = SimpleNamespace()

    read_whole_answers(client)

    assert vars(client) == {}


@pytest.mark.parametrize("how", ["eof", "closed", "reset"])
async def test_a_connection_that_ends_gives_what_is_whole_and_then_says_so(how: str) -> None:
    connection = Connection()
    await settle()
    await taken_over(connection)
    connection.receive(framed([b"whole"]))
    await settle()
    connection.receive(framed([b"whole too"]) + framed([b"not whole"])[:7])
    await settle()
    error = ConnectionResetError("reset") if how == "reset" else None
    if how == "eof":
        connection.answers.eof_received()
    else:
        connection.answers.connection_lost(error)
    await settle()

    raised = connection.task.exception()
    if how == "reset":
        assert raised is error
    else:
        assert connection.frames == [b"whole", b"whole too"]
        assert isinstance(raised, asyncio.IncompleteReadError)
        assert (raised.partial, raised.expected) == (b"not", 9)


async def test_a_read_that_is_cancelled_loses_nothing() -> None:
    connection = Connection()
    connection.task.cancel()
    await settle()
    await taken_over(connection)
    reader = connection._reader
    for _ in range(2):
        reading = asyncio.get_running_loop().create_task(reader.readexactly(4))
        await settle()
        connection.receive(b"ab")
        reading.cancel()
        await settle()

    assert await reader.readexactly(4) == b"abab"


async def test_its_reader_is_woken_once_for_an_answer() -> None:
    connection = Connection()
    await settle()
    await taken_over(connection)
    connection.receive(framed([b"first"]))
    await settle()
    woken = 0
    wake = connection.answers._wake

    def count() -> None:
        nonlocal woken
        woken += 1
        wake()

    connection.answers._wake = count  # type: ignore[method-assign]
    data = framed([b"x" * 500_000])
    connection.receive(data[:4])
    await settle()
    for start in range(4, len(data), 50_000):
        connection.receive(data[start : start + 50_000])
        await settle()

    assert connection.frames == [b"first", b"x" * 500_000]
    assert woken == 2
    connection.task.cancel()


@pytest.mark.parametrize(("size", "kept"), [(1 << 20, True), (3 << 20, False)])
async def test_only_a_buffer_of_the_usual_size_is_kept(size: int, *, kept: bool) -> None:
    connection = Connection()
    await settle()
    await taken_over(connection)
    connection.receive(framed([b"a"]))
    await settle()
    data = framed([b"x" * size])
    connection.receive(data[:4])
    await settle()
    connection.receive(data[4:])
    await settle()

    assert len(connection.frames[-1]) == size
    assert (len(connection.answers._view) >= size) is kept
    assert len(connection.answers._view) <= KEPT_BYTES
    connection.task.cancel()


async def test_memory_follows_what_comes_not_what_is_announced() -> None:
    connection = Connection()
    await settle()
    await taken_over(connection)
    connection.receive(framed([b"a"]))
    await settle()
    connection.receive(b"HTTP")  # 1.2 gigabytes, if it were a size
    await settle()
    sizes = []
    for _ in range(8):
        connection.receive(bytes(1 << 20))
        sizes.append(len(connection.answers._view))

    assert sizes[0] <= KEPT_BYTES
    assert sizes[-1] < 20 << 20
    assert len(set(sizes)) <= 5  # it doubles: to move all of it each time would take for ever
    connection.task.cancel()


async def test_a_large_answer_that_comes_in_small_reads_is_seldom_moved() -> None:
    connection = Connection()
    await settle()
    await taken_over(connection)
    connection.receive(framed([b"a"]))
    await settle()
    moved = 0
    make_room = connection.answers._make_room

    def count() -> None:
        nonlocal moved
        moved += 1
        make_room()

    connection.answers._make_room = count  # type: ignore[method-assign]
    data = framed([bytes(6 << 20)])
    connection.receive(data[:4])
    await settle()
    connection.receive(data[4:], at_most=10_000)
    await settle()

    assert len(connection.frames[-1]) == 6 << 20
    assert moved <= 5
    connection.task.cancel()


async def test_a_negative_size_ends_the_connection_as_before() -> None:
    connection = Connection()
    await settle()
    await taken_over(connection)
    connection.receive(framed([b"a"]))
    await settle()
    connection.receive(b"\xff\xff\xff\xfe" + framed([b"b"]))
    await settle()

    assert connection.frames == [b"a"]
    assert isinstance(connection.task.exception(), ValueError)


async def test_writing_is_paused_as_before() -> None:
    connection = Connection()
    await taken_over(connection)
    connection.answers.pause_writing()
    assert connection._protocol._paused  # type: ignore[attr-defined]
    connection.answers.resume_writing()
    assert not connection._protocol._paused  # type: ignore[attr-defined]
    connection.task.cancel()


# -- real sockets ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "broker.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


SIZES = (1, 100, 70_000, 1 << 20, 5 << 20, 3)


@asynccontextmanager
async def broker(context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """Answers every request, version lookups as Kafka does, others by so much as they ask for."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                request = await reader.readexactly(size)
                key, _, correlation = struct.unpack(">hhi", request[:8])
                body = struct.pack(">i", correlation)
                if key == 18:  # ApiVersions: no error, none supported
                    body += struct.pack(">hi", 0, 0)
                else:
                    body = _answer(struct.unpack(">i", request[-4:])[0])
                writer.write(struct.pack(">i", len(body)) + body)
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _answer(size: int) -> bytes:
    return bytes(range(256)) * (size // 256) + bytes(size % 256)


async def _connected(port: int, context: ssl.SSLContext | None) -> Any:
    client: Any = AIOKafkaClient(
        bootstrap_servers=f"127.0.0.1:{port}",
        security_protocol="PLAINTEXT" if context is None else "SSL",
        ssl_context=context,
    )
    read_whole_answers(client)
    client.cluster.broker_metadata = lambda _: SimpleNamespace(host="127.0.0.1", port=port)
    return client


@pytest.mark.real_loops
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
async def test_the_clients_own_connection_reads_answers_of_all_sizes(
    certificate: Path, *, secure: bool
) -> None:
    ours: ssl.SSLContext | None = None
    theirs: ssl.SSLContext | None = None
    if secure:
        ours = ssl.create_default_context(cafile=str(certificate))
        theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        theirs.load_cert_chain(certificate)
    async with asyncio.timeout(20), broker(theirs) as port:
        client = await _connected(port, ours)
        connection = await client._get_conn(0)
        assert connection._reader.readexactly.__func__ is WholeAnswers.readexactly
        asked = [_raw(connection, size) for size in SIZES * 2]
        assert [await each for each in asked] == [_answer(size) for size in SIZES * 2]
        answers: WholeAnswers = connection._reader.readexactly.__self__
        assert len(answers._view) <= KEPT_BYTES
        connection.close()
        await client.close()


def _raw(connection: Any, size: int) -> Any:
    """An answer of ``size`` bytes, as the client takes those of a handshake."""
    return connection._send_sasl_token(struct.pack(">hhii", 1, 0, 0, size))


@pytest.mark.real_loops
async def test_a_broker_that_goes_away_is_noticed() -> None:
    async with asyncio.timeout(20):
        async with broker(None) as port:
            client = await _connected(port, None)
            connection = await client._get_conn(0)
            await _raw(connection, 5)
            connection._writer.write(b"\0\0\0")
            connection._writer.write_eof()
            while connection._reader is not None:
                await asyncio.sleep(0.01)
        assert not connection.connected()
        await client.close()
