"""Results that their topic takes from nobody: with no key where it is compacted, or too new."""

import asyncio
import textwrap
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.kafka.client import Kafka
from tests.kafka.fixtures import need_apache
from tests.service_process import ServiceProcess

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

_HANDLERS = """
import time

from service import Event, Result, handler


@handler("future")
async def future(event: Event) -> Result:
    ahead_ms = event.data.get("ahead_ms")
    stamp = None if ahead_ms is None else int(time.time() * 1000) + ahead_ms
    return Result({"n": event.data["n"]}, timestamp=stamp)


@handler("same")
def same(event: Event) -> dict:
    return {"n": event.data["n"]}
"""

DAY_MS = 86_400_000


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_a_result_that_its_topic_never_takes_is_dead_lettered_and_stops_nothing(
    kafka: Kafka, tmp_path: Path, delivery: str
) -> None:
    need_apache("refuses records for what they are")
    (tmp_path / "refused_handlers.py").write_text(textwrap.dedent(_HANDLERS), encoding="utf-8")
    names = {kind: kafka.unique(kind) for kind in ("in", "future", "same", "dead", "group")}
    await kafka.create_topic(names["in"], 1)
    await kafka.create_topic(names["future"], 1, message_timestamp_after_max_ms=DAY_MS)
    await kafka.create_topic(names["same"], 1, cleanup_policy="compact")
    await kafka.create_topic(names["dead"], 1)
    config: dict[str, Any] = {
        "admin": {"port": 0},
        "server": {"port": 0},
        "pipelines": {
            "test": {
                "sources": {"kafka": {"topics": [names["in"]], "group_id": names["group"]}},
                "normalizer": "json",
                "delivery": delivery,
                "dead_letter": names["dead"],
                "handlers": {
                    name: {"use": f"refused_handlers:{name}", "output": names[name]}
                    for name in ("future", "same")
                },
            }
        },
    }
    values = [{"n": n} for n in range(20)]
    values[3]["ahead_ms"] = DAY_MS // 2
    values[5]["ahead_ms"] = 2 * DAY_MS
    values[6]["ahead_ms"] = 2**63
    records = [(b"k%d" % n, orjson.dumps(value)) for n, value in enumerate(values)]
    records[7] = (None, records[7][1])  # type: ignore[assignment]  # a record without a key

    async with ServiceProcess(kafka.bootstrap, config, tmp_path) as service:
        await kafka.produce(names["in"], records)
        async with asyncio.timeout(30):
            while (await kafka.committed(names["group"], names["in"]))[0] < len(records):
                await asyncio.sleep(0.1)
        found = {
            name: [
                orjson.loads(record.value or b"")["n"]
                for record in await kafka.consume(names[name], read_committed=True)
            ]
            for name in ("future", "same", "dead")
        }
        code = await service.terminate()

    assert found["future"] == [n for n in range(20) if n not in {5, 6}]
    assert found["same"] == [n for n in range(20) if n != 7]
    assert sorted(found["dead"]) == [5, 6, 7]
    assert code == 0
