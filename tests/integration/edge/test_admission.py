"""Who gets in: the matrix of origins and tokens, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from websockets.exceptions import ConnectionClosed, InvalidStatus

from service.server.admission import HANDSHAKE_BURST, HANDSHAKES_PER_S
from service.server.authentication import Authenticator, RefusedError
from service.settings import ServerSettings
from tests.edge.serving import READER, WRITER, Edge, serving, token_file

pytestmark = pytest.mark.real_loops


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return token_file(tmp_path)


@pytest.fixture
async def guarded(tokens: Path) -> AsyncIterator[Edge]:
    settings = {"tokens_file": tokens, "allowed_origins": ["https://dash.example.com"]}
    async with serving(settings=settings) as edge:
        yield edge


@pytest.fixture
async def open_to_all() -> AsyncIterator[Edge]:
    async with serving(settings={"allowed_origins": ["https://dash.example.com"]}) as edge:
        yield edge


async def status_of(edge: Edge, path: str = "/subscribe", **options: Any) -> int:
    """101, or the status that refused the handshake."""
    try:
        async with edge.connect(path, **options):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def bearer(token: str) -> dict[str, Any]:
    return {"additional_headers": {"Authorization": f"Bearer {token}"}}


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 101),
        ("https://dash.example.com", 101),
        ("https://evil.example", 403),
        ("null", 403),
        ("https://dash.example.com.evil.example", 403),
        ("https://evil-dash.example.com", 403),
        ("http://dash.example.com", 403),
        ("https://dash.example.com:8443", 403),
        ("https://DASH.example.com", 403),
        ("https://dash.example.com/", 403),
    ],
)
async def test_origins_are_compared_exactly(
    open_to_all: Edge, guarded: Edge, origin: str | None, status: int
) -> None:
    assert await status_of(open_to_all, origin=origin) == status
    assert await status_of(guarded, origin=origin, **bearer(READER)) == status


async def test_the_pages_own_origin_is_allowed(open_to_all: Edge) -> None:
    own = f"http://localhost:{open_to_all.port}"
    other_port = "http://localhost:1"

    assert await status_of(open_to_all, origin=own) == 101
    assert await status_of(open_to_all, origin=other_port) == 403


async def test_a_name_that_was_pointed_at_loopback_gets_nothing(open_to_all: Edge) -> None:
    rebound = f"evil.example:{open_to_all.port}"

    answer = await get(open_to_all, "/api/status", f"Host: {rebound}")

    assert answer.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 401),
        ([("Authorization", "Bearer wrong")], 401),
        ([("Authorization", "Bearer")], 400),
        ([("Authorization", "Basic dXNlcjpwYXNz")], 400),
        ([("Authorization", f"Bearer {READER}")], 101),
        ([("Authorization", f"bearer {READER}")], 101),
        ([("Authorization", f"Bearer {READER}"), ("Authorization", "Bearer x")], 400),
        ([("Authorization", f"Bearer {READER}"), ("Origin", "https://evil.example")], 403),
        (
            [
                ("Authorization", f"Bearer {READER}"),
                ("Origin", "https://dash.example.com"),
                ("Origin", "https://dash.example.com"),
            ],
            400,
        ),
    ],
    ids=[
        "none", "wrong", "empty", "basic", "right", "lower-case", "twice", "foreign-origin",
        "two-origins",
    ],
)  # fmt: skip
async def test_tokens_in_the_header(
    guarded: Edge, headers: list[tuple[str, str]], status: int
) -> None:
    assert await status_of(guarded, additional_headers=headers) == status


async def test_where_nobody_needs_a_token_a_password_for_a_proxy_in_front_is_none(
    open_to_all: Edge,
) -> None:
    password = [("Authorization", "Basic dXNlcjpwYXNz")]

    assert await status_of(open_to_all, additional_headers=password) == 101


async def test_a_browsers_token_is_a_subprotocol_that_is_never_selected(guarded: Edge) -> None:
    offered = ["headrace.v1", f"token.{READER}"]
    async with guarded.connect(subprotocols=offered) as client:
        selected = client.subprotocol

    assert selected == "headrace.v1"
    assert await status_of(guarded, subprotocols=["headrace.v1", "token.wrong"]) == 401


async def test_a_token_in_the_url_is_not_looked_at(guarded: Edge) -> None:
    assert await status_of(guarded, f"/subscribe?token={READER}") == 401


async def test_each_token_opens_only_its_own_doors(guarded: Edge) -> None:
    statuses = {
        (name, path): await status_of(guarded, path, **bearer(token))
        for name, token in (("reader", READER), ("writer", WRITER))
        for path in ("/subscribe", "/ingest/logs")
    }

    assert statuses == {
        ("reader", "/subscribe"): 101,
        ("reader", "/ingest/logs"): 403,
        ("writer", "/subscribe"): 403,
        ("writer", "/ingest/logs"): 101,
    }


async def test_a_topic_beyond_the_token_is_forbidden(guarded: Edge) -> None:
    async with guarded.connect(**bearer(READER)) as client:
        await client.send('{"type":"subscribe","id":1,"topic":"secrets"}')
        answer = orjson.loads(await client.recv())

    assert (answer["type"], answer["code"]) == ("error", "forbidden")


async def test_figures_and_topics_need_the_token_and_pages_do_not(guarded: Edge) -> None:
    bare = {path: (await get(guarded, path))[9:12] for path in ("/", "/api/status", "/api/topics")}
    topics = await get(guarded, "/api/topics", f"Authorization: Bearer {READER}")

    assert bare == {"/": b"200", "/api/status": b"401", "/api/topics": b"401"}
    assert orjson.loads(topics.partition(b"\r\n\r\n")[2]) == {
        "topics": [{"name": "alerts", "dead_letter": False}]
    }


async def test_figures_hold_keys_of_topics_that_the_client_may_read(tokens: Path) -> None:
    async def status(keys_shown: Callable[[str], bool]) -> dict[str, Any]:
        return {"keys": [topic for topic in ("logs.raw", "alerts") if keys_shown(topic)]}

    async with serving(settings={"tokens_file": tokens}, status=status) as edge:
        answers = [
            await get(edge, "/api/status", f"Authorization: Bearer {token}")
            for token in (READER, WRITER)
        ]
    async with serving(status=status) as edge:
        answers.append(await get(edge, "/api/status"))

    shown = [orjson.loads(answer.partition(b"\r\n\r\n")[2])["keys"] for answer in answers]
    assert shown == [["alerts"], [], ["logs.raw", "alerts"]]


async def test_an_expired_token_is_closed_within_a_second(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    expires_at = datetime.now(UTC) + timedelta(seconds=2)
    file = token_file(tmp_path, writer_expires_at=expires_at.isoformat())
    async with serving(settings={"tokens_file": file}) as edge:
        async with edge.connect("/ingest/logs", **bearer(WRITER)) as client:
            left_s = (expires_at - datetime.now(UTC)).total_seconds()
            began_s = loop.time()
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            late_s = loop.time() - began_s - left_s
        again = await status_of(edge, "/ingest/logs", **bearer(WRITER))

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401
    assert 0 <= late_s < 1.0
    assert again == 401


@pytest.mark.parametrize(
    "broken",
    ["tokens: [{name: broken", "tokens: [{name: x, expires_at: 2027-02-30T00:00:00Z}]"],
    ids=["no-yaml", "no-date"],
)
async def test_a_revoked_token_is_closed_and_a_broken_file_changes_nothing(
    tokens: Path, broken: str
) -> None:
    async with (
        serving(settings={"tokens_file": tokens}) as edge,
        edge.connect(**bearer(READER)) as client,
    ):
        await asyncio.to_thread(tokens.write_text, broken)
        await asyncio.sleep(1.5)
        await client.send('{"type":"ping"}')
        pong = orjson.loads(await client.recv())
        await asyncio.to_thread(tokens.write_text, "tokens: []")
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(5):
                await client.recv()

    assert pong == {"type": "pong"}
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


async def test_a_token_that_is_revoked_while_the_file_is_being_looked_at_is_closed(
    guarded: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator = guarded.server._authenticator
    revisions = [authenticator.revision]

    def read(authenticator: Authenticator) -> int:
        """Another thread is quicker: it changes in the moment after it was looked at."""
        revision = revisions[-1]
        if not authenticator._tokens and len(revisions) == 1:
            revisions.append(revision + 1)
        return revision

    monkeypatch.setattr(Authenticator, "revision", property(read), raising=False)
    async with guarded.connect(**bearer(READER)) as client:
        authenticator._tokens = {}
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(3):
                await client.recv()

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


async def test_a_topic_that_is_taken_from_a_token_is_not_sent_any_more(tokens: Path) -> None:
    text = await asyncio.to_thread(tokens.read_text)
    await asyncio.to_thread(tokens.write_text, text.replace("[alerts]", "[alerts, secrets]"))
    async with (
        serving(settings={"tokens_file": tokens}) as edge,
        edge.connect(**bearer(READER)) as both,
        edge.connect(**bearer(READER)) as alerts,
    ):
        for client, topics in ((both, ("alerts", "secrets")), (alerts, ("alerts",))):
            for topic in topics:
                request = {"type": "subscribe", "id": topic, "topic": topic}
                await client.send(orjson.dumps(request).decode())
                assert orjson.loads(await client.recv())["type"] == "subscribed"
        await asyncio.to_thread(tokens.write_text, text)
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(5):
                await both.recv()
        edge.log.append("alerts", {"n": 1})
        async with asyncio.timeout(5):
            events = orjson.loads(await alerts.recv())

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403
    assert events["type"] == "events"


# -- signed tokens ----------------------------------------------------------------------------


class Issuer:
    def __init__(self, path: Path) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.other = ec.generate_private_key(ec.SECP256R1())
        self.file = path / "jwks.json"
        self._write()
        self.settings = {
            "jwks_file": self.file,
            "audience": "headrace",
            "issuer": "https://issuer.example",
            "algorithms": ["ES256"],
        }

    def replace_key(self) -> None:
        self.key = self.other
        self._write(end=b"\n")  # another size, where the clock of the files is coarse

    def _write(self, end: bytes = b"") -> None:
        jwk = ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True) | {"kid": "k1"}
        self.file.write_bytes(orjson.dumps({"keys": [jwk]}) + end)

    def token(self, *, key: Any = None, algorithm: str = "ES256", **changes: Any) -> str:
        claims: dict[str, Any] = {
            "sub": "dash",
            "aud": "headrace",
            "iss": "https://issuer.example",
            "exp": int(datetime.now(UTC).timestamp()) + 300,
            "headrace_topics": ["alerts"],
        } | changes
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, key or self.key, algorithm=algorithm, headers={"kid": "k1"})


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


async def test_signed_tokens_are_checked_in_every_part(issuer: Issuer) -> None:
    now = int(datetime.now(UTC).timestamp())
    secret = "x" * 64
    unsigned = jwt.encode({"sub": "dash", "aud": "headrace"}, "", algorithm="none")
    cases = {
        "good": (issuer.token(), 101),
        "skew": (issuer.token(exp=now - 10), 101),
        "expired": (issuer.token(exp=now - 60), 401),
        "no exp": (issuer.token(exp=None), 401),
        "audience": (issuer.token(aud="other"), 401),
        "issuer": (issuer.token(iss="https://evil.example"), 401),
        "other key": (issuer.token(key=issuer.other), 401),
        "symmetric": (issuer.token(key=secret, algorithm="HS256"), 401),
        "none": (unsigned, 401),
        "no topics": (issuer.token(headrace_topics=None), 403),
        "garbage": ("a.b.c", 401),
        "huge": ("x" * 8000, 401),
    }
    async with serving(settings={"jwt": issuer.settings}) as edge:
        statuses = {
            name: await status_of(edge, **bearer(token)) for name, (token, _) in cases.items()
        }

    assert statuses == {name: status for name, (_, status) in cases.items()}


async def test_a_broken_file_of_tokens_does_not_keep_the_keys_of_signed_ones_from_changing(
    tokens: Path, issuer: Issuer
) -> None:
    settings = {"port": 0, "tokens_file": tokens, "jwt": issuer.settings}
    authenticator = Authenticator(ServerSettings.model_validate(settings))
    await authenticator.load()
    before = issuer.token()
    with tokens.open("a") as file:
        file.write("broken: [")
    await authenticator.refresh()
    revision = authenticator.revision
    issuer.replace_key()
    await authenticator.refresh()

    assert authenticator.identify(issuer.token()).name == "dash"
    with pytest.raises(RefusedError):
        authenticator.identify(before)
    assert authenticator.identify(READER).name == "dashboard"
    assert authenticator.revision > revision  # open connections are looked at again


# -- limits and plain HTTP --------------------------------------------------------------------


async def test_connections_are_limited_per_token_and_in_all(tokens: Path) -> None:
    settings = {
        "tokens_file": tokens, "max_connections": 3, "max_connections_per_principal": 2,
    }  # fmt: skip
    async with serving(settings=settings) as edge:
        first = await edge.connect(**bearer(READER))
        await edge.connect(**bearer(READER))
        third = await status_of(edge, **bearer(READER))
        await edge.connect("/ingest/logs", **bearer(WRITER))
        fourth = await status_of(edge, "/ingest/logs", **bearer(WRITER))
        await first.close()
        after = await status_of(edge, **bearer(READER))

    assert (third, fourth, after) == (429, 429, 101)


async def test_clients_that_go_while_they_wait_for_their_turn_do_not_count() -> None:
    head = (
        b"GET /subscribe HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n"
    )
    async with serving(settings={"max_connections": 500}) as edge:
        sockets = [await asyncio.open_connection("127.0.0.1", edge.port) for _ in range(400)]
        for _, writer in sockets:
            writer.write(head)
        await asyncio.sleep(0.1)
        for _, writer in sockets:
            writer.transport.abort()
        await asyncio.sleep(1.5)
        assert edge.server._admission is not None
        counted = edge.server._admission._limits.open

    assert counted == 0


async def test_a_producer_that_is_gone_counts_until_what_it_sent_is_taken() -> None:
    async with serving(settings={"max_connections": 2}, capacity=1) as edge:
        for n in range(2):  # the second one waits for room, which is memory like any other
            async with edge.connect("/ingest/logs") as producer:
                await producer.send(f'{{"n":{n}}}')
                await producer.send(f'{{"n":{n}}}')
        await edge.server._registry.empty()
        while_full = await status_of(edge)
        taken = [await edge.inbox.recv() for _ in range(4)]
        after = await status_of(edge)

    assert len(taken) == 4
    assert (while_full, after) == (429, 101)


async def test_a_token_that_is_revoked_while_its_client_waits_for_its_turn_is_refused(
    tokens: Path,
) -> None:
    async with serving(settings={"tokens_file": tokens}) as edge:
        admission, authenticator = edge.server._admission, edge.server._authenticator
        assert admission is not None
        for _ in range(HANDSHAKE_BURST + HANDSHAKES_PER_S - 1):
            admission._pace.take_in(asyncio.get_running_loop().time())
        wait_s = admission._pace.take_in(asyncio.get_running_loop().time())
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(status_of(edge, **bearer(READER)))
            await asyncio.sleep(wait_s / 2)
            await asyncio.to_thread(tokens.write_text, "tokens: []")
            await authenticator.refresh()

    assert waiting.result() == 401


async def test_connections_are_limited_per_address() -> None:
    async with serving(settings={"max_connections_per_address": 1}) as edge:
        async with edge.connect():
            assert await status_of(edge) == 429
        assert await status_of(edge) == 101


async def get(edge: Edge, path: str, *headers: str, method: str = "GET") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    lines = [f"{method} {path} HTTP/1.1", *headers]
    if not any(header.startswith("Host:") for header in headers):
        lines.append(f"Host: 127.0.0.1:{edge.port}")
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


async def test_pages_come_with_a_strict_policy_and_an_etag(open_to_all: Edge) -> None:
    page = await get(open_to_all, "/")
    head = page.partition(b"\r\n\r\n")[0].decode()
    etag = next(line[6:] for line in head.splitlines() if line.startswith("ETag: "))
    again = await get(open_to_all, "/", f"If-None-Match: {etag}")

    assert "script-src 'self'" in head
    assert "default-src 'none'" in head
    assert "X-Content-Type-Options: nosniff" in head
    assert "Server:" not in head
    assert again.startswith(b"HTTP/1.1 304 ")


@pytest.mark.parametrize(
    ("tags", "status"),
    [("W/{etag}", b"304"), ('"old", {etag}', b"304"), ("*", b"304"), ('W/"old"', b"200")],
)
async def test_a_page_that_the_browser_has_is_not_sent_again_behind_a_proxy(
    tags: str, status: bytes, open_to_all: Edge
) -> None:
    page = await get(open_to_all, "/")
    etag = next(line[6:] for line in page.decode().splitlines() if line.startswith("ETag: "))
    # nginx makes the tag of what it compresses a weak one
    again = await get(open_to_all, "/", f"If-None-Match: {tags.format(etag=etag)}")

    assert again.split()[1] == status


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/nowhere", "GET", b"404"),
        ("/../service/app.py", "GET", b"404"),
        ("/static/../../etc/passwd", "GET", b"404"),
        ("/ingest/other", "GET", b"404"),
        ("/subscribe", "GET", b"426"),
        ("/", "POST", b"405"),
        ("/subscribe", "PUT", b"405"),
        ("/", "HEAD", b"405"),
    ],
)
async def test_other_requests_are_refused(
    open_to_all: Edge, path: str, method: str, status: bytes
) -> None:
    assert (await get(open_to_all, path, method=method))[9:12] == status


async def test_nobody_new_is_let_in_while_shutting_down(open_to_all: Edge) -> None:
    open_to_all.server.refuse_new()

    assert await status_of(open_to_all) == 503
