import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder

from service.publishers.base import Row
from service.publishers.kafka_client import _close, _Writer


@pytest.mark.parametrize(
    "compression", [0, 1, 2, 3, 4], ids=["none", "gzip", "snappy", "lz4", "zstd"]
)
@pytest.mark.parametrize("sent", [True, False], ids=["sent before", "still open"])
def test_a_batch_gives_back_what_was_put_into_it(compression: int, *, sent: bool) -> None:
    rows: list[Row] = [
        (1_700_000_000_000, b"key", b"value", [("name", b"content"), ("name", b"again")]),
        (1_700_000_000_001, None, b"", []),
        (1_700_000_000_002, b"gone", None, []),
    ]
    writer = _Writer(BatchBuilder(10_000, compression))
    assert writer.extend(rows, 0) == 3
    if sent:
        writer.finish()._build()

    assert writer.rows() == rows


def test_an_empty_batch_gives_back_nothing() -> None:
    assert _Writer(BatchBuilder(10_000, 0)).rows() == []


async def test_a_producer_that_does_not_stop_has_its_sockets_closed() -> None:
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()
    sender_task: asyncio.Future[None] = loop.create_future()

    async def close() -> None:
        closed.set()

    producer: Any = SimpleNamespace(
        stop=asyncio.Event().wait,
        client=SimpleNamespace(close=close),
        _sender=SimpleNamespace(sender_task=sender_task),
    )
    began_s = loop.time()

    await _close(producer, 3.0)

    assert loop.time() - began_s == 3.0
    assert sender_task.cancelled()
    assert closed.is_set()
