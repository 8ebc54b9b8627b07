import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.errors import ConfigurationError, PermanentError, SchemaError, TransientError
from service.events import Event, RecordBatch, SourceRecord
from service.handlers import load_handler
from service.handlers.bound import BoundHandler
from service.handlers.lookup import CACHE_MAX_BYTES, RemoteTable
from service.handlers.spec import _registered

OpenHandler = Callable[..., Awaitable[Any]]


@pytest.fixture
def bound(tmp_path: Path) -> dict[str, BoundHandler]:
    """The handler with a file, by what it does with the missing; bound before any loop runs."""
    path = tmp_path / "customers.json"
    path.write_bytes(orjson.dumps({"c1": {"name": "Ada"}, "7": "seven"}))
    options = {"field": "order.customer", "into": "customer", "file": str(path)}
    return {
        missing: load_handler("enrich").bind({**options, "missing": missing})
        for missing in ("pass", "drop", "dead_letter")
    }


def _from(topic: str, data: Any, key: bytes = b"k", partition: int = 0) -> Event:
    record = SourceRecord(None if data is None else b"", key=key)
    batch = RecordBatch(topic, partition, [record], next_offset=1)
    return Event(data, key=key, batch=batch)


async def test_what_the_file_knows_is_added(bound: dict[str, BoundHandler]) -> None:
    call = bound["pass"].call
    data = {"order": {"customer": "c1"}, "n": 1}

    enriched = await call(_from("orders", data))

    assert enriched == {**data, "customer": {"name": "Ada"}}
    assert "customer" not in data
    assert (await call(_from("orders", {"order": {"customer": 7}})))["customer"] == "seven"


async def test_what_is_not_known_is_handled_as_the_options_say(
    bound: dict[str, BoundHandler],
) -> None:
    data = {"order": {"customer": "c9"}}

    assert await bound["pass"].call(_from("orders", data)) == {**data, "customer": None}
    assert await bound["drop"].call(_from("orders", data)) is None
    with pytest.raises(PermanentError, match=r"nothing is known about order\.customer"):
        await bound["dead_letter"].call(_from("orders", data))


async def test_events_join_the_latest_row_of_a_topic(open_handler: OpenHandler) -> None:
    random_ = random.Random(2)
    opened = await open_handler("enrich", field="customer", into="row", topic="customers")
    model: dict[tuple[int, str], Any] = {}

    for number in range(2000):
        partition, key = random_.randrange(3), f"c{random_.randrange(40)}"
        if random_.random() < 0.4:
            row = None if random_.random() < 0.2 else {"version": number}
            model[partition, key] = row
            assert await opened.bound.call(_from("customers", row, key.encode(), partition)) is None
        else:
            event = _from("orders", {"customer": key}, partition=partition)
            assert (await opened.bound.call(event))["row"] == model.get((partition, key))


async def test_an_event_without_the_field_is_a_schema_error(
    bound: dict[str, BoundHandler],
) -> None:
    call = bound["pass"].call

    with pytest.raises(SchemaError, match=r"order\.customer: missing"):
        await call(_from("orders", {}))
    with pytest.raises(SchemaError, match="not an object"):
        await call(_from("orders", ["x"]))
    assert await call(_from("orders", None)) is None


class _Peer:
    """Answers after a second, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failing = False
        self.size_bytes = 10

    async def __call__(self, key: str) -> tuple[Any, int]:
        self.asked.append(key)
        await asyncio.sleep(1)
        if self.failing:
            raise TransientError("busy")
        return (None if key == "unknown" else {"key": key}), self.size_bytes


def _table(peer: _Peer, *, ttl_s: float = 300, max_keys: int = 10_000) -> RemoteTable:
    return RemoteTable(peer, ttl_s=ttl_s, max_keys=max_keys)


async def test_an_answer_is_believed_for_its_time_and_a_missing_one_too() -> None:
    peer = _Peer()
    table = _table(peer, ttl_s=60)

    assert await table.get("a") == await table.get("a") == {"key": "a"}
    assert await table.get("unknown") is None
    assert await table.get("unknown") is None
    assert peer.asked == ["a", "unknown"]
    await asyncio.sleep(60)
    await table.get("a")
    assert peer.asked == ["a", "unknown", "a"]


async def test_calls_for_one_key_ask_once() -> None:
    peer = _Peer()
    table = _table(peer)

    answers = await asyncio.gather(*(table.get("a") for _ in range(5)))

    assert answers == [{"key": "a"}] * 5
    assert peer.asked == ["a"]
    assert asyncio.get_running_loop().time() == 1.0


async def test_calls_for_one_key_ask_once_where_nothing_is_believed_for_longer() -> None:
    peer = _Peer()
    table = _table(peer, ttl_s=0)

    answers = await asyncio.gather(*(table.get("k") for _ in range(5)))

    assert len(set(map(str, answers))) == 1
    assert len(peer.asked) == 1
    await table.get("k")
    assert len(peer.asked) == 2


@pytest.mark.parametrize("key", ["", ".", ".."])
async def test_a_key_that_would_ask_for_something_else_is_not_known(key: str) -> None:
    peer = _Peer()

    assert await _table(peer).get(key) is None
    assert len(peer.asked) == 0


async def test_a_failed_or_cancelled_question_is_asked_again_by_the_next() -> None:
    peer = _Peer()
    table = _table(peer)
    peer.failing = True
    with pytest.raises(TransientError):
        await table.get("a")
    peer.failing = False

    async with asyncio.TaskGroup() as group:
        first = group.create_task(table.get("a"))
        second = group.create_task(table.get("a"))
        await asyncio.sleep(0.5)
        first.cancel()

    assert second.result() == {"key": "a"}


async def test_the_cache_is_bounded() -> None:
    peer = _Peer()
    table = _table(peer, max_keys=2)
    for key in ("a", "b", "c", "a"):
        await table.get(key)

    assert peer.asked == ["a", "b", "c", "a"]


async def test_the_cache_is_bounded_in_bytes_too() -> None:
    peer = _Peer()
    table = _table(peer)
    peer.size_bytes = CACHE_MAX_BYTES // 4  # less than that of key and answer, so three fit
    for key in ("a", "b", "c", "d"):
        await table.get(key)
    peer.size_bytes = 0
    for key in ("b", "c", "d", "a"):
        await table.get(key)

    assert peer.asked == ["a", "b", "c", "d", "a"]


async def test_an_answer_that_comes_again_counts_once() -> None:
    peer = _Peer()
    table = _table(peer, ttl_s=2)
    peer.size_bytes = CACHE_MAX_BYTES // 3
    await table.get("b")
    for _ in range(4):
        await table.get("a")
        await asyncio.sleep(0.5)
        peer.asked.clear()
        await table.get("a")
        assert peer.asked == []
        await asyncio.sleep(1.5)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "one of file, http and topic"),
        ({"http": {"url": "http://x/"}}, "url"),
        ({"file": "nowhere.json"}, "file"),
        ({"http": {"url": "http://x/{key}", "headers": {"X": "a\nb"}}}, "the end of a line"),
    ],
    ids=["nothing", "no key in the address", "no file", "two headers in one"],
)
def test_what_cannot_work_is_a_configuration_error(options: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load_handler("enrich").bind({"field": "a", "into": "b", **options})


def test_only_a_lookup_over_http_needs_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "known.json"
    file.write_text("{}")
    for module in ("service.handlers.enrich", "service.handlers.http"):
        monkeypatch.delitem(sys.modules, module)
    for module in [name for name in sys.modules if name.partition(".")[0] == "aiohttp"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(_registered, "enrich")
    spec = load_handler("enrich")

    spec.bind({"field": "a", "into": "b", "file": str(file)})

    with pytest.raises(ConfigurationError) as refused:
        spec.bind({"field": "a", "into": "b", "http": {"url": "http://x/{key}"}}, name="e")
    assert refused.value.problems == [
        "handlers.e.options.http: needs the extra: pip install 'headrace[http]'"
    ]
