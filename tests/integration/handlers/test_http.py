"""The handlers that speak HTTP, against a real server on a free port of this machine."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web

from service.handlers.lookup import ANSWER_MAX_BYTES
from service.testing.harness import Harness, pipeline_of

pytestmark = pytest.mark.integration


class _Peer:
    """Records requests; answers with what is queued, then with 200."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, bytes, dict[str, str]]] = []
        self.answers: list[web.Response] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests.append((request.path, body, dict(request.headers)))
        if self.answers:
            return self.answers.pop(0)
        return web.json_response({"path": request.path})


@pytest.fixture
async def peer() -> AsyncIterator[_Peer]:
    peer = _Peer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", peer.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    peer.url = f"http://{host}:{port}"
    yield peer
    await runner.cleanup()


def _webhook(peer: _Peer, **options: Any) -> dict[str, Any]:
    return pipeline_of(
        "webhook",
        options={"url": f"{peer.url}/hook", **options},
        output=None,
        retry={"initial_s": 0.01, "max_s": 0.05, "attempts": 4},
    )


async def test_events_are_sent_templated_and_signed(peer: _Peer) -> None:
    body = '{"text": ${message}, "by": "headrace"}'
    async with Harness(_webhook(peer, body=body, secret="s3cret")) as service:  # noqa: S106 -- a test's own
        await service.send({"message": 'say "hi"'})
        await service.settle()

    ((path, sent, headers),) = peer.requests
    assert path == "/hook"
    assert orjson.loads(sent) == {"text": 'say "hi"', "by": "headrace"}
    assert headers["Idempotency-Key"] == "input/0/0"
    signed = headers["X-Headrace-Timestamp"].encode() + b"." + sent
    expected = hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
    assert headers["X-Headrace-Signature"] == f"sha256={expected}"


async def test_a_busy_peer_is_tried_again_and_a_refusal_is_dead_lettered(peer: _Peer) -> None:
    peer.answers = [
        web.Response(status=503, headers={"Retry-After": "0"}),
        web.Response(status=429),
        web.Response(status=200),
        web.Response(status=422),
    ]
    async with Harness(_webhook(peer)) as service:
        await service.send({"n": 1}, key="k")
        await service.send({"n": 2}, key="k")
        await service.settle()
        letters = service.dead_letters()

    assert [orjson.loads(body)["n"] for _, body, _ in peer.requests] == [1, 1, 1, 2]
    assert [letter.value for letter in letters] == [b'{"n":2}']
    assert len({headers["Idempotency-Key"] for _, _, headers in peer.requests[:3]}) == 1


async def test_a_peer_that_keeps_failing_is_left_alone_for_a_while(peer: _Peer) -> None:
    peer.answers = [web.Response(status=500) for _ in range(3)]
    config = _webhook(peer, circuit_failures=3, circuit_reset_s=0.3)
    config["pipelines"]["test"]["handlers"]["handler"]["retry"]["attempts"] = 50
    async with Harness(config) as service:
        await service.send_all([{"n": n} for n in range(3)])
        await service.settle()

    assert len(peer.requests) == 6
    assert service.dead_letters() == []


async def test_a_lookup_is_remembered(peer: _Peer) -> None:
    config = pipeline_of(
        "enrich",
        options={"field": "id", "into": "found", "http": {"url": f"{peer.url}/things/{{key}}"}},
    )
    async with Harness(config) as service:
        await service.send_all([{"id": "a/b"}, {"id": "c"}, {"id": "a/b"}])
        await service.settle()
        await service.send({"id": "c"})
        await service.settle()

    found = {value["id"]: value["found"] for value in service.outputs()}
    assert len(service.outputs()) == 4
    assert found == {"a/b": {"path": "/things/a/b"}, "c": {"path": "/things/c"}}
    assert len(peer.requests) == 2


@pytest.mark.parametrize("status", [204, 404], ids=["no content", "not found"])
@pytest.mark.parametrize(
    ("missing", "outputs", "details"),
    [
        ("pass", [{"id": "a", "found": None}] * 2, []),
        ("drop", [], []),
        ("dead_letter", [], ["PermanentError: nothing is known about id"] * 2),
    ],
    ids=["passed", "dropped", "dead-lettered"],
)
async def test_nothing_that_is_known_is_handled_as_the_options_say_and_remembered(
    peer: _Peer, status: int, missing: str, outputs: list[Any], details: list[str]
) -> None:
    peer.answers = [web.Response(status=status)]
    http = {"url": f"{peer.url}/{{key}}"}
    config = pipeline_of(
        "enrich", options={"field": "id", "into": "found", "missing": missing, "http": http}
    )
    async with Harness(config) as service:
        await service.send_all([{"id": "a"}, {"id": "a"}])
        await service.settle()

    assert service.outputs() == outputs
    assert [letter.detail for letter in service.dead_letters()] == details
    assert len(peer.requests) == 1


async def test_a_success_that_is_empty_is_no_json(peer: _Peer) -> None:
    peer.answers = [web.Response(status=200)]
    config = pipeline_of(
        "enrich", options={"field": "id", "into": "found", "http": {"url": f"{peer.url}/{{key}}"}}
    )
    async with Harness(config) as service:
        await service.send({"id": "a"})
        await service.settle()

    (letter,) = service.dead_letters()
    assert letter.detail == "PermanentError: the lookup answers no JSON"


async def test_an_answer_that_no_topic_would_take_is_not_read_to_its_end(peer: _Peer) -> None:
    peer.answers = [web.json_response("x" * ANSWER_MAX_BYTES), web.json_response("x" * 1000)]
    config = pipeline_of(
        "enrich", options={"field": "id", "into": "found", "http": {"url": f"{peer.url}/{{key}}"}}
    )
    async with Harness(config) as service:
        await service.send_all([{"id": "a"}, {"id": "b"}])
        await service.settle()

    assert service.outputs() == [{"id": "b", "found": "x" * 1000}]
    (letter,) = service.dead_letters()
    assert letter.detail == "PermanentError: the lookup answers more than 1048576 bytes"
