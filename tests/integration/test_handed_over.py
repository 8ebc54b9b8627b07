"""A quick handler and a slow one on Kafka: what the process that ends hands over to the next."""

import asyncio
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.kafka.client import Kafka
from tests.service_process import ServiceProcess

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

_HANDLERS = """
import asyncio

from service import Event, handler


@handler("quick")
def quick(event: Event) -> dict:
    return {"n": event.data["n"]}


@handler("slow")
async def slow(event: Event) -> dict:
    await asyncio.sleep(0.1)
    return {"n": event.data["n"]}
"""
_RECORDS = 4000
_DRAIN_S = 10.0


def _config(names: dict[str, str], delivery: str, concurrency: int) -> dict[str, Any]:
    handlers = {
        name: {"use": f"handed_over_handlers:{name}", "output": names[name]}
        for name in ("quick", "slow")
    }
    handlers["slow"]["concurrency"] = concurrency  # type: ignore[assignment]
    return {
        "admin": {"port": 0},
        "server": {"port": 0},
        "drain_timeout_s": _DRAIN_S,
        "pipelines": {
            "test": {
                "sources": {"kafka": {"topics": [names["in"]], "group_id": names["group"]}},
                "normalizer": "json",
                "delivery": delivery,
                "dead_letter": names["dead"],
                "handlers": handlers,
            }
        },
    }


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_sigterm_in_a_backlog_of_one_handler_repeats_nothing_of_the_other(
    kafka: Kafka, tmp_path: Path, delivery: str
) -> None:
    (tmp_path / "handed_over_handlers.py").write_text(textwrap.dedent(_HANDLERS), encoding="utf-8")
    names = {kind: kafka.unique(kind) for kind in ("in", "quick", "slow", "dead", "group")}
    await kafka.create_topic(names["in"], 2)
    for kind in ("quick", "slow", "dead"):
        await kafka.create_topic(names[kind], 1)
    await kafka.produce(
        names["in"], [(b"k%d" % n, orjson.dumps({"n": n})) for n in range(_RECORDS)]
    )

    async with ServiceProcess(kafka.bootstrap, _config(names, delivery, 4), tmp_path) as service:
        await kafka.consume(names["slow"], 20, read_committed=True)
        asked_s = time.monotonic()
        code = await service.terminate()
        took_s = time.monotonic() - asked_s
    slow_told = len(await kafka.consume(names["slow"], read_committed=True))
    config = _config(names, delivery, 1000)
    async with ServiceProcess(kafka.bootstrap, config, tmp_path, name="next") as service:
        async with asyncio.timeout(60):
            while sum((await kafka.committed(names["group"], names["in"])).values()) < _RECORDS:
                await asyncio.sleep(0.1)
        assert await service.terminate() == 0

    assert code == 0
    assert took_s < _DRAIN_S  # the first fifth, the calls that were running, and to leave
    assert slow_told < _RECORDS / 2
    for kind in ("quick", "slow"):
        told = [
            orjson.loads(record.value or b"")["n"]
            for record in await kafka.consume(names[kind], read_committed=True)
        ]
        assert Counter(told) == dict.fromkeys(range(_RECORDS), 1)
    assert await kafka.consume(names["dead"]) == []
