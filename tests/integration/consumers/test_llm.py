"""The LLM source against a server on this machine that breaks off, refuses and is busy."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from service.testing.harness import Harness, pipeline_of

pytestmark = pytest.mark.integration


class _Model:
    """Answers each prompt with its own words; told how to misbehave first."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.headers: list[str | None] = []
        self.misbehave: list[str] = []
        self.refusal_headers: dict[str, str] = {}
        self.on_request: Callable[[], None] = lambda: None

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        self.requests.append(body)
        self.headers.append(request.headers.get("Authorization"))
        self.on_request()
        how = self.misbehave.pop(0) if self.misbehave else ""
        if how.isdigit():
            return web.Response(status=int(how), headers=self.refusal_headers)
        if how == "no stream":
            return web.json_response({"choices": [{"message": {"content": "Paid for."}}]})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        words = body["messages"][0]["content"].split(" ")
        for number, word in enumerate(words):
            if how == "break" and number == 2:
                request.transport.abort()  # type: ignore[union-attr]  # it is connected
                return response
            event = {"choices": [{"delta": {"content": word + " "}}]}
            await response.write(b"data: " + orjson.dumps(event) + b"\n\n")
        if how.startswith("no end"):
            last = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
            await response.write(b"data: " + orjson.dumps(last) + b"\n\n")
            if how == "no end, cut":
                request.transport.abort()  # type: ignore[union-attr]  # it is connected
            if how == "no end, silent":
                await asyncio.sleep(0.5)
            return response
        await response.write(b"data: [DONE]\n\n")
        return response


@pytest.fixture
async def model() -> AsyncIterator[_Model]:
    model = _Model()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", model.complete)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    model.url = f"http://{host}:{port}/v1"
    yield model
    await runner.cleanup()


async def _heard(model: _Model, count: int, *prompts: str, **source: Any) -> list[Any]:
    config = pipeline_of("llm_sentences", options={"flush_after_s": 1})
    config["pipelines"]["test"]["sources"]["llm"] = {
        "type": "llm", "url": model.url, "model": "m", "prompts": list(prompts), **source,
    }  # fmt: skip
    async with Harness(config) as service:
        told: list[Any] = []
        for _ in range(100):
            told = [value for value in service.outputs() if value["text"]]
            if len(told) >= count:
                break
            await service.advance(0.1)
        return told


def _without_run(value: dict[str, Any]) -> str:
    prompt, _run, *attempt = value["conversation"].split("/")
    return "/".join([prompt, *attempt])


async def test_answers_become_sentences_in_order(model: _Model) -> None:
    prompts = ["Water flows. It turns the wheel.", "The mill grinds."]

    heard = await _heard(model, 3, *prompts, api_key="k3y", parameters={"temperature": 0})

    said = {(_without_run(value), value["sentence"]): value["text"] for value in heard}
    assert said == {
        ("prompt-1", 0): "Water flows.",
        ("prompt-1", 1): "It turns the wheel.",
        ("prompt-2", 0): "The mill grinds.",
    }
    assert model.headers == ["Bearer k3y"] * 2
    assert all(request["stream"] and request["temperature"] == 0 for request in model.requests)


async def test_an_answer_that_breaks_off_is_asked_for_again_under_another_id(
    model: _Model,
) -> None:
    model.misbehave = ["503", "break"]

    heard = await _heard(model, 2, "One two three four.")

    said = {_without_run(value): (value["text"], value["partial"]) for value in heard}
    assert said["prompt-1/2"] == ("One two three four.", False)
    assert said.get("prompt-1", ("One two", True)) == ("One two", True)


@pytest.mark.parametrize("status", ["429", "503"])
async def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(
    model: _Model, status: str
) -> None:
    loop = asyncio.get_running_loop()
    asked_at_s: list[float] = []
    model.on_request = lambda: asked_at_s.append(loop.time())
    model.misbehave = [status]
    model.refusal_headers = {"Retry-After": "1"}

    await _heard(model, 1, "One two three four.")

    first_s, second_s = asked_at_s
    assert second_s - first_s >= 1.0  # its own first wait is half a second at most


@pytest.mark.parametrize("how", ["400", "no stream"])
async def test_a_refused_prompt_does_not_hold_up_the_others(model: _Model, how: str) -> None:
    model.misbehave = [how] * 2

    heard = await _heard(model, 1, "Refused.", "Refused too.", "Heard.", concurrency=1)

    assert [_without_run(value) for value in heard] == ["prompt-3"]


@pytest.mark.parametrize("how", ["no end", "no end, cut", "no end, silent"])
async def test_an_answer_that_says_why_it_ends_is_whole_without_a_last_word(
    model: _Model, how: str
) -> None:
    model.misbehave = [how] * 3

    heard = await _heard(model, 1, "One two three", idle_timeout_s=0.2)

    assert [(value["text"], value["final"]) for value in heard] == [("One two three", True)]
    assert len(model.requests) == 1


@pytest.mark.parametrize("between", [None, "two\nlines"], ids=["no file", "no key"])
async def test_a_key_that_is_replaced_is_used_from_the_next_request_on(
    model: _Model, tmp_path: Path, between: str | None
) -> None:
    key = tmp_path / "key"
    key.write_text("0ld\n")
    model.misbehave = ["401"]

    def replace() -> None:
        if between is None:
            key.unlink(missing_ok=True)
        else:
            key.write_text(between)
        asyncio.get_running_loop().call_later(0.8, key.write_text, "n3w\n")

    model.on_request = replace
    heard = await _heard(model, 1, "Heard.", api_key_file=str(key))

    assert [value["text"] for value in heard] == ["Heard."]
    assert model.headers == ["Bearer 0ld", "Bearer n3w"]
