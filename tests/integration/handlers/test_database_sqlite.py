"""The database handler on embedded SQLite, in a whole pipeline."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.testing.harness import Harness, pipeline_of

pytestmark = pytest.mark.integration


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def _rows(file: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(sql).fetchall()


def _config(file: Path, **options: Any) -> dict[str, Any]:
    return pipeline_of(
        "database",
        options={"url": f"sqlite+aiosqlite:///{file}", "table": "events", **options},
        output=None,
    )


async def test_each_id_is_one_row_with_its_last_version_despite_duplicates(file: Path) -> None:
    random_ = random.Random(1)
    events: list[dict[str, Any]] = [
        {"id": f"e{random_.randrange(500)}", "n": n} for n in range(2000)
    ]
    columns = {"n": {"field": "n", "type": "integer"}, "all": {"field": "id"}}
    last: dict[str, int] = {}

    async with Harness(_config(file, id_field="id", columns=columns), partitions=3) as service:
        for event in events:
            await service.send(event, key=event["id"])
            last[event["id"]] = event["n"]
        await service.settle()

    assert dict(_rows(file, "select id, n from events")) == last


async def test_without_columns_the_whole_event_is_stored_under_its_place(file: Path) -> None:
    async with Harness(_config(file)) as service:
        await service.send({"a": [1, None]}, key="k", timestamp=17)
        await service.settle()

    ((id_, key, timestamp, data),) = _rows(file, "select id, key, timestamp, data from events")
    assert (id_, key, timestamp, orjson.loads(data)) == ("input/0/0", "k", 17, {"a": [1, None]})


async def test_a_field_that_is_not_there_or_null_is_null_in_every_type_of_column(
    file: Path,
) -> None:
    types = ("text", "integer", "number", "boolean", "json")
    columns = {name: {"field": name, "type": name} for name in types}
    async with Harness(_config(file, columns=columns)) as service:
        await service.send_all([{}, dict.fromkeys(types)])
        await service.settle()

    rows = _rows(file, "select text, integer, number, boolean, json from events")
    assert rows == [(None,) * 5] * 2


async def test_a_row_that_does_not_fit_is_dead_lettered_alone(file: Path) -> None:
    columns = {"n": {"field": "n", "type": "integer"}}
    async with Harness(_config(file, columns=columns)) as service:
        await service.send_all([{"n": 1}, {"n": "secret"}, {"n": True}, {"n": 4}, {"n": 2**63}])
        await service.settle()
        letters = service.dead_letters()

    assert [row[0] for row in _rows(file, "select n from events order by n")] == [1, 4]
    assert [letter.code for letter in letters] == ["schema", "schema", "schema"]
    assert "secret" not in letters[0].detail
    assert letters[2].detail == "SchemaError: n: beyond what the column holds"


async def test_a_value_that_cannot_be_written_down_is_dead_lettered_alone(file: Path) -> None:
    config = _config(file)
    config["pipelines"]["test"]["normalizer"] = "cloudevents"
    config["pipelines"]["test"]["handlers"]["handler"]["retry"] = {"attempts": 1}
    event = (("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/s"), ("ce_type", b"t"))
    async with Harness(config) as service:
        for number in range(20):
            kind = b"text/plain" if number == 5 else b"application/json"
            headers = (*event, ("content-type", kind))
            await service.send(b'{"n": 1}', key=f"k{number}", headers=headers)
        await service.settle()
        letters = service.dead_letters()

    assert _rows(file, "select count(*) from events") == [(19,)]
    assert [(letter.code, letter.key) for letter in letters] == [("handler", b"k5")]


async def test_what_is_there_may_be_kept(file: Path) -> None:
    columns = {"n": {"field": "n", "type": "integer"}}
    config = _config(file, id_field="id", columns=columns, on_conflict="ignore")
    async with Harness(config) as service:
        await service.send({"id": "a", "n": 1})
        await service.settle()
        await service.send({"id": "a", "n": 2})
        await service.settle()

    assert _rows(file, "select id, n from events") == [("a", 1)]


async def test_the_schema_of_sqlite_is_main(file: Path) -> None:
    async with Harness(_config(file, table="main.orders")) as service:
        await service.send({"n": 1})
        await service.settle()

    assert _rows(file, "select id from orders") == [("input/0/0",)]


@pytest.mark.parametrize(("on_conflict", "kept"), [("update", 3), ("ignore", 1)])
async def test_an_id_twice_in_a_batch_is_what_it_would_be_one_by_one(
    file: Path, on_conflict: str, kept: int
) -> None:
    columns = {"n": {"field": "n", "type": "integer"}}
    config = _config(file, id_field="id", columns=columns, on_conflict=on_conflict)
    async with Harness(config) as service:
        for number in (1, 2, 3):
            await service.send({"id": "a", "n": number}, key=f"k{number}")
        await service.settle()

    assert _rows(file, "select id, n from events") == [("a", kept)]
