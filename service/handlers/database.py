"""Events into a table: batched upserts through SQLAlchemy, exactly one row per event id.

Delivery is at least once, so a batch may come again after a crash; the id makes it the same row.
SQLite and PostgreSQL are known; any other database would need its own word for an upsert.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.types import TypeEngine

from service.errors import PermanentError, SchemaError, TransientError
from service.events import Event
from service.handlers import fields
from service.handlers.context import HandlerContext
from service.handlers.database_options import ColumnOptions, DatabaseOptions
from service.handlers.spec import handler

POOL_SIZE: Final = 4
"""Connections, and so batches written at a time."""

_PERMANENT_CLASSES: Final = ("22", "23", "3F", "42", "44", "54", "P0")
"""SQLSTATE classes that no retry heals.

Data exception, constraint violation, no such schema, wrong statement, a view's check, a limit of
the database (an id too long for its index), and what a trigger raises.
"""

_MADE_MEANWHILE: Final = frozenset({"23505", "42710", "42P07"})
"""SQLSTATEs of a table that another process makes in the same moment.

Duplicate table, or what PostgreSQL stumbles over before it gets to that: its name in the catalogue
and the type of its rows.
"""

_INSERTS: Final[dict[str, Callable[..., Any]]] = {
    "postgresql": postgresql.insert,
    "sqlite": sqlite.insert,
}

_SQL_TYPES: Final[dict[str, Callable[[], TypeEngine[Any]]]] = {
    "text": Text,
    "integer": BigInteger,
    "number": Float,
    "boolean": Boolean,
    # a field that is not there is NULL, in every type: what `is null` finds
    "json": lambda: JSON(none_as_null=True).with_variant(
        postgresql.JSONB(none_as_null=True), "postgresql"
    ),
}
_INTEGERS: Final = 2**63
_PYTHON_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "json": (object,),
}


@handler("database", options=DatabaseOptions, batch=500, linger_s=0.02, timeout_s=60)
class Database:
    """Writes each event as one row; publishes nothing.

    Without ``columns`` the table is ``id``, ``key``, ``timestamp`` (milliseconds) and ``data``.
    """

    def __init__(self, options: DatabaseOptions) -> None:
        self._options = options
        self._url = options.database_url()
        self._id = None if options.id_field is None else fields.text(options.id_field)
        self._readers = [
            (name, fields.optional(column.field), column)
            for name, column in options.columns.items()
        ]
        self._table = _table(options)
        self._statement = _upsert(
            self._table, make_url(self._url).get_backend_name(), options.on_conflict
        )
        self._preparing = asyncio.Lock()
        self._prepared = not options.create_table
        self._engine: AsyncEngine

    async def open(self, context: HandlerContext) -> None:
        """Make the connection pool; it connects when first needed."""
        self._engine = await context.client(f"database {self._url}", self._make_engine)

    async def __call__(self, events: list[Event]) -> list[Any]:
        """Write a batch in one transaction.

        Raises:
            TransientError: If the database cannot be reached or is busy.
            PermanentError: If it refuses the data.
        """
        outcomes: list[Any] = [None] * len(events)
        rows: dict[str, dict[str, Any]] = {}
        for place, event in enumerate(events):
            try:
                row = self._row(event)
            except SchemaError as error:
                outcomes[place] = error
            else:
                # of an id the last wins, or the first where what is there stays: as one by one
                if self._options.on_conflict == "update" or row["id"] not in rows:
                    rows[row["id"]] = row
        if rows:
            # In the order of ids, so that two batches never wait for each other's rows.
            await self._write([rows[id_] for id_ in sorted(rows)])
        return outcomes

    def _row(self, event: Event) -> dict[str, Any]:
        data = event.data
        row: dict[str, Any] = {
            "id": self._id(data)
            if self._id is not None
            else f"{event.topic}/{event.partition}/{event.record_id}"
        }
        if not self._readers:
            row.update(key=event.key_text, timestamp=event.timestamp, data=data)
            return row
        for name, read, column in self._readers:
            value = read(data)
            row[name] = None if value is None else _checked(value, column)
        return row

    async def _write(self, rows: Sequence[dict[str, Any]]) -> None:
        try:
            await self._prepare()
            async with self._engine.begin() as connection:
                await connection.execute(self._statement, rows)
        except DBAPIError as error:
            if _permanent(error):
                raise PermanentError(f"the database refuses it: {_reason(error)}") from error
            raise TransientError(f"the database fails: {_reason(error)}") from error
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            if _unfit(error):
                raise PermanentError("a value does not fit its column") from error
            raise TransientError(f"no database: {type(error).__name__}") from error

    async def _prepare(self) -> None:
        """Create the table, once; at the first batch, because the database may be away before."""
        async with self._preparing:
            if not self._prepared:
                try:
                    async with self._engine.begin() as connection:
                        await connection.run_sync(self._table.metadata.create_all)
                except DBAPIError as error:
                    if _sqlstate(error) not in _MADE_MEANWHILE:
                        raise
                self._prepared = True

    @asynccontextmanager
    async def _make_engine(self) -> AsyncGenerator[AsyncEngine]:
        engine = create_async_engine(self._url, pool_pre_ping=True, pool_size=POOL_SIZE)
        try:
            yield engine
        finally:
            await engine.dispose()


def _table(options: DatabaseOptions) -> Table:
    columns: list[Column[Any]] = [Column("id", Text, primary_key=True)]
    if options.columns:
        columns += [Column(name, _SQL_TYPES[c.type]()) for name, c in options.columns.items()]
    else:
        columns += [
            Column("key", Text),
            Column("timestamp", BigInteger),
            Column("data", _SQL_TYPES["json"]()),
        ]
    schema, name = options.place()
    return Table(name, MetaData(), *columns, schema=schema)


def _upsert(table: Table, dialect: str, on_conflict: str) -> Any:
    statement = _INSERTS[dialect](table)
    others = {c.name: statement.excluded[c.name] for c in table.columns if not c.primary_key}
    if on_conflict == "ignore" or not others:
        return statement.on_conflict_do_nothing(index_elements=["id"])
    return statement.on_conflict_do_update(index_elements=["id"], set_=others)


def _checked(value: Any, column: ColumnOptions) -> Any:
    wanted = _PYTHON_TYPES[column.type]
    mistaken = isinstance(value, bool) and bool not in wanted and column.type != "json"
    if mistaken or not isinstance(value, wanted):
        raise SchemaError(column.field, f"not of type {column.type}")
    # JSON has them up to 2**64; a column of numbers holds those too
    if isinstance(value, int) and column.type == "integer" and not -_INTEGERS <= value < _INTEGERS:
        raise SchemaError(column.field, "beyond what the column holds")
    return value


def _permanent(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return False
    sqlstate = _sqlstate(error)
    if sqlstate is not None:
        return sqlstate[:2] in _PERMANENT_CLASSES
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"IntegrityError", "DataError", "ProgrammingError"})


def _sqlstate(error: DBAPIError) -> str | None:
    """What the database calls the error, if its driver tells."""
    sqlstate = getattr(error.orig, "sqlstate", None)
    return None if sqlstate is None else str(sqlstate)


def _unfit(error: Exception) -> bool:
    """Whether a value could not even be written down for the database, such as bytes as JSON.

    As any other than a permanent error it would take the rest of its batch with it.
    """
    return isinstance(error, StatementError) and isinstance(error.orig, (TypeError, ValueError))


def _reason(error: DBAPIError) -> str:
    """The kind of error; its message would quote the event."""
    sqlstate = _sqlstate(error)
    return type(error.orig).__name__ + (f", SQLSTATE {sqlstate}" if sqlstate else "")
