"""Who is cut for being slow, and who is not, over real sockets."""

import asyncio

import orjson
import pytest

from tests.edge.serving import serving

pytestmark = pytest.mark.real_loops


@pytest.mark.parametrize("write_timeout_s", [0.7, 2.0])
async def test_a_client_that_answers_is_never_cut_however_short_the_timeout(
    write_timeout_s: float,
) -> None:
    async with (
        serving(settings={"write_timeout_s": write_timeout_s}) as edge,
        edge.connect() as client,
    ):
        await client.send(orjson.dumps({"type": "subscribe", "id": 1, "topic": "alerts"}).decode())
        await client.recv()
        for n in range(3):  # each is a write, after which silence has to be told from a hung client
            edge.log.append("alerts", {"n": n})
            await client.recv()
            await asyncio.sleep(2 * write_timeout_s)
        edge.log.append("alerts", {"n": 3})
        frame = orjson.loads(await client.recv())

    assert [event["value"] for event in frame["events"]] == [{"n": 3}]
