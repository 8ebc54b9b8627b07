"""What the options of the database handler refuse, and which errors it tries again.

What it writes is in the integration tests.
"""

from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from service.errors import ConfigurationError
from service.handlers import load_handler
from service.handlers.database import _permanent

POSTGRES = "postgresql+asyncpg://u:secret@h/d"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"table": "t"}, "either url or url_file"),
        ({"table": "t", "url": "mysql+x://u:secret@h/d"}, "no upserts for mysql"),
        ({"table": "t", "url": "nonsense"}, "URL cannot be used"),
        ({"table": "t", "url": "sqlite://", "columns": {"id": {"field": "a"}}}, "column id"),
        ({"table": "t", "url": "postgresql://u:secret@h/d"}, r"write postgresql\+asyncpg://"),
        ({"table": "t", "url": "postgresql+psycopg2://u:secret@h/d"}, "without blocking"),
        ({"table": "t", "url": "sqlite:///file"}, r"write sqlite\+aiosqlite://"),
        ({"table": "a.b.c", "url": POSTGRES}, "table: write table or schema.table"),
        ({"table": "a.", "url": POSTGRES}, "table: write table or schema.table"),
        ({"table": ".b", "url": POSTGRES}, "table: write table or schema.table"),
        ({"table": " .b", "url": POSTGRES}, "table: write table or schema.table"),
        ({"table": "a.b", "url": "sqlite+aiosqlite://"}, "SQLite has no schema a"),
    ],
    ids=["no url", "unknown database", "no url at all", "id as a column", "no driver",
         "a driver that blocks", "no driver for a file", "a table of a database", "no table",
         "no schema", "a blank schema", "a schema in SQLite"],
)  # fmt: skip
def test_what_cannot_work_is_a_configuration_error(options: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        load_handler("database").bind(options)

    assert "secret" not in str(caught.value)


class _RefusedError(Exception):
    """What a driver raises."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__()
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "permanent"),
    [("23514", True), ("44000", True), ("54000", True), ("P0001", True),
     ("40001", False), ("53300", False), ("57P01", False), ("25006", False), ("08006", False)],
    ids=["a check", "a view's check", "an id too long", "a trigger",
         "a conflict", "too many connections", "a shutdown", "a replica", "no connection"],
)  # fmt: skip
def test_what_no_retry_heals_is_permanent(sqlstate: str, permanent: bool) -> None:  # noqa: FBT001
    assert _permanent(DBAPIError("insert", {}, _RefusedError(sqlstate))) is permanent
