"""The Python client against a real server."""

import asyncio
from contextlib import aclosing

import pytest

from service.client import SubscriptionError, subscribe
from tests.edge.serving import READER, serving, token_file


async def test_it_resumes_where_it_was_cut_off() -> None:
    async with serving() as edge:
        offsets: list[int] = []
        async with asyncio.timeout(20), aclosing(subscribe(edge.url(), "alerts")) as batches:
            edge.log.append("alerts", {"n": 0})
            adding = asyncio.get_running_loop().call_later(0.5, edge.log.append, "alerts", {"n": 1})
            async for batch in batches:
                offsets.extend(event["offset"] for event in batch.events)
                if len(offsets) < 20:
                    for connection in list(edge.server._registry.connections):
                        connection.cut()
                    for n in range(5):
                        edge.log.append("alerts", {"n": n})
                else:
                    break
            adding.cancel()

    assert offsets == list(range(offsets[0], offsets[-1] + 1))


async def test_what_is_refused_for_good_is_an_error() -> None:
    async with serving() as edge:
        with pytest.raises(SubscriptionError) as refused:
            async for _ in subscribe(edge.url(), "not.allowed"):
                pass

    assert refused.value.code == "forbidden"


async def test_a_wish_that_is_too_large_is_not_repeated() -> None:
    where = {"field": "host", "in": ["x" * 70_000]}
    async with serving() as edge:
        async with asyncio.timeout(3):
            with pytest.raises(SubscriptionError) as refused:
                await anext(subscribe(edge.url(), "alerts", where=where))

    assert refused.value.code == "1009"


async def test_a_token_is_needed_where_the_server_wants_one(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    tokens = token_file(tmp_path_factory.mktemp("edge"))
    async with serving(settings={"tokens_file": tokens}) as edge:
        edge.log.append("alerts", {"n": 0})
        with pytest.raises(SubscriptionError) as refused:
            async for _ in subscribe(edge.url(), "alerts"):
                pass
        async with aclosing(
            subscribe(edge.url(), "alerts", start="earliest", token=f"{READER}\n")
        ) as batches:
            first = await anext(batches)

    assert refused.value.code == "401"
    assert [event["value"] for event in first.events] == [{"n": 0}]


@pytest.mark.parametrize("token", ["s3cret\ntoo", "s3cr\u20act"])
async def test_a_token_that_cannot_be_sent_is_said_so_without_its_text(token: str) -> None:
    with pytest.raises(ValueError, match="token: has characters that no header can hold"):
        await anext(subscribe("ws://127.0.0.1:1/", "alerts", token=token))


async def test_what_keeps_it_from_connecting_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as edge:
        url = edge.url()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):  # nobody listens there any more
            await anext(subscribe(url, "alerts"))

    [first, *_] = caplog.records
    assert first.name == "service.client"
    assert first.getMessage().startswith(f"{url}: ")
    assert "onnect" in first.getMessage()
    assert "trying again in 0." in first.getMessage()
