"""The database handler against a real PostgreSQL, killed and restarted in the middle."""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.testing.harness import Harness, pipeline_of
from tests.integration.handlers.postgres import PostgresServer, binaries

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    found = binaries()
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed")
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with tempfile.TemporaryDirectory() as directory:
        server = PostgresServer(Path(directory), found)
        server.start()
        yield server
        server.stop()


def _config(postgres: PostgresServer, **handler: Any) -> dict[str, Any]:
    return pipeline_of(
        "database",
        options={
            "url": postgres.url,
            "table": "events",
            "id_field": "id",
            "columns": {
                "n": {"field": "n", "type": "integer"},
                "text": {"field": "text"},
                "more": {"field": "more", "type": "json"},
            },
        },
        output=None,
        **handler,
    )


async def _rows(postgres: PostgresServer, sql: str) -> Any:
    connection = await asyncpg.connect(postgres.dsn)
    try:
        return await connection.fetch(sql)
    finally:
        await connection.close()


async def test_a_killed_database_gets_every_row_exactly_once_when_it_is_back(
    postgres: PostgresServer,
) -> None:
    count = 20_000
    retry = {"attempts": 100, "initial_s": 0.05, "max_s": 0.5}
    async with Harness(_config(postgres, retry=retry), partitions=4) as service:
        for number in range(count):
            event = {"id": f"e{number}", "n": number, "text": "x" * 50, "more": {"a": [number]}}
            await service.send(event, key=f"e{number}", partition=number % 4)
            if number % 10 == 0:
                await service.send(event, key=f"e{number}", partition=number % 4)
        await service.advance(0.5)
        assert service.lag() > 0
        await asyncio.to_thread(postgres.kill)
        await service.advance(1.0)
        await asyncio.to_thread(postgres.start)
        await service.settle()

        assert service.dead_letters() == []
    ((rows, ids, total),) = await _rows(
        postgres, "select count(*), count(distinct id), sum(n) from events"
    )
    assert (rows, ids, total) == (count, count, count * (count - 1) // 2)


async def test_a_row_that_postgres_refuses_is_dead_lettered_alone(
    postgres: PostgresServer,
) -> None:
    async with Harness(_config(postgres)) as service:
        for number in range(50):
            text = "with a \x00 in it" if number == 20 else "fine"
            await service.send({"id": f"e{number}", "n": number, "text": text}, key=f"e{number}")
        await service.settle()
        letters = service.dead_letters()

    assert len(await _rows(postgres, "select id from events")) == 49
    assert [letter.code for letter in letters] == ["handler"]
    assert "with a" not in letters[0].detail


async def test_rows_that_a_trigger_or_an_index_refuses_are_dead_lettered_alone(
    postgres: PostgresServer,
) -> None:
    for statement in (
        "create table events (id text primary key, n bigint, text text, more jsonb)",
        (
            "create function refuse() returns trigger language plpgsql as "
            "$$ begin if new.n = 20 then raise exception 'no'; end if; return new; end $$"
        ),
        "create trigger refuse before insert on events for each row execute function refuse()",
    ):
        await _rows(postgres, statement)
    async with Harness(_config(postgres, retry={"attempts": 2, "initial_s": 0.05})) as service:
        for number in range(50):
            long = random.Random(1).randbytes(6_000).hex() if number == 30 else ""
            await service.send({"id": f"e{number}{long}", "n": number}, key=f"e{number}")
        await service.settle()
        letters = service.dead_letters()

    ((rows,),) = await _rows(postgres, "select count(*) from events")
    assert rows == 48
    assert sorted(letter.key or b"" for letter in letters) == [b"e20", b"e30"]


async def test_a_table_that_another_process_makes_in_the_same_moment_is_the_one(
    postgres: PostgresServer,
) -> None:
    other = await asyncpg.connect(postgres.dsn)
    try:
        making = other.transaction()
        await making.start()
        await other.execute(
            "create table events (id text primary key, n bigint, text text, more jsonb)"
        )
        async with Harness(_config(postgres, retry={"attempts": 1})) as service:
            await service.send({"id": "a", "n": 1})
            async with asyncio.timeout(30):
                while not await _rows(postgres, "select 1 from pg_locks where not granted"):
                    await asyncio.sleep(0.02)
            await making.commit()
            await service.settle()

            assert service.dead_letters() == []
    finally:
        await other.close()
    assert [tuple(row) for row in await _rows(postgres, "select id, n from events")] == [("a", 1)]


async def test_json_that_is_not_there_is_null_as_any_other_column(
    postgres: PostgresServer,
) -> None:
    async with Harness(_config(postgres)) as service:
        await service.send({"id": "a"}, key="a")
        await service.send({"id": "b", "more": None}, key="b")
        await service.send({"id": "c", "more": [None]}, key="c")
        await service.settle()

    rows = await _rows(postgres, "select id from events where more is null order by id")
    assert [row["id"] for row in rows] == ["a", "b"]


@pytest.mark.parametrize("table", ["created", "there"])
async def test_a_table_of_a_schema_is_that_one(postgres: PostgresServer, table: str) -> None:
    await _rows(postgres, 'create schema "Sales; drop"')
    if table == "there":
        await _rows(postgres, 'create table "Sales; drop"."a""b" (id text primary key, n bigint)')
    config = _config(postgres)
    options = config["pipelines"]["test"]["handlers"]["handler"]["options"]
    options |= {
        "table": 'Sales; drop.a"b',
        "columns": {"n": {"field": "n", "type": "integer"}},
        "create_table": table == "created",
    }
    async with Harness(config) as service:
        await service.send_all([{"id": "x", "n": 1}, {"id": "x", "n": 2}])
        await service.settle()

        assert service.dead_letters() == []
    rows = await _rows(postgres, 'select id, n from "Sales; drop"."a""b"')
    assert [tuple(row) for row in rows] == [("x", 2)]


async def test_a_schema_that_is_not_there_is_not_waited_for(postgres: PostgresServer) -> None:
    config = _config(postgres, retry={"attempts": 1000, "initial_s": 60, "max_s": 60})
    config["pipelines"]["test"]["handlers"]["handler"]["options"]["table"] = "elsewhere.events"
    async with Harness(config) as service:
        await service.send({"id": "a"})
        await service.settle()
        (letter,) = service.dead_letters()

    assert "refuses it" in letter.detail
    assert "3F000" in letter.detail


async def test_batches_reach_ten_thousand_rows_a_second(
    postgres: PostgresServer, record_property: Callable[[str, object], None]
) -> None:
    count = 30_000
    async with Harness(_config(postgres), partitions=4) as service:
        for number in range(count):
            event = {"id": f"e{number}", "n": number, "text": "x" * 50}
            await service.send(event, key=f"e{number}", partition=number % 4)
        began_s = time.perf_counter()
        await service.settle()
        took_s = time.perf_counter() - began_s

    ((rows,),) = await _rows(postgres, "select count(*) from events")
    assert rows == count
    record_property("rows_per_s", round(count / took_s))
    print(f"{count / took_s:,.0f} rows/s")  # noqa: T201 -- the figure
