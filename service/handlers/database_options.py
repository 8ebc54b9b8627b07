"""What ``database`` can be told: where the database is, and what its table looks like."""

from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from service.handlers import fields

_DRIVERS: Final = {"postgresql": ("asyncpg", "psycopg"), "sqlite": ("aiosqlite",)}
"""Those that wait without blocking, by the kind of database; the first is recommended."""

ColumnType = Literal["text", "integer", "number", "boolean", "json"]


class ColumnOptions(BaseModel):
    """One column: where its value comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: fields.Path = Field(description="Dotted path in the event; null where there is none.")
    type: ColumnType = Field(default="text", description="Its type, checked before writing.")


class DatabaseOptions(BaseModel):
    """Options of ``database``; one of ``url`` and ``url_file``."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: SecretStr | None = Field(
        default=None, description="`sqlite+aiosqlite:///file` or `postgresql+asyncpg://…`."
    )
    url_file: Path | None = Field(default=None, description="A file that holds the URL.")
    table: str = Field(
        min_length=1,
        description="Name of the table, or `schema.table`; the schema has to be there.",
    )
    id_field: fields.Path | None = Field(
        default=None, description="Field of the event's id; its place in the topic if not given."
    )
    columns: dict[str, ColumnOptions] = Field(
        default_factory=dict, description="By column name; the whole event as `data` if empty."
    )
    on_conflict: Literal["update", "ignore"] = Field(
        default="update", description="What an id that is there already does."
    )
    create_table: bool = Field(default=True, description="Create the table if it is missing.")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("give either url or url_file")
        if "id" in self.columns:
            raise ValueError("the column id is the event's id")
        schema, name = self.place()
        try:
            url = make_url(self.database_url())
            dialect = url.get_backend_name()
        except (ArgumentError, OSError) as error:
            raise ValueError(f"the URL cannot be used: {type(error).__name__}") from None
        if dialect not in _DRIVERS:
            raise ValueError(f"no upserts for {dialect}; known: {', '.join(sorted(_DRIVERS))}")
        # without one in the URL, a driver that blocks would be chosen, or one that is not here
        if url.drivername.partition("+")[2] not in _DRIVERS[dialect]:
            wanted = f"{dialect}+{_DRIVERS[dialect][0]}://"
            raise ValueError(f"the URL's driver cannot wait without blocking: write {wanted}…")
        if schema not in {None, "main"} and dialect == "sqlite":
            raise ValueError(f"table: SQLite has no schema {schema}: write {name}")
        return self

    def place(self) -> tuple[str | None, str]:
        """The schema, if one is named, and the name of the table."""
        schema, dot, name = self.table.rpartition(".")
        if "." in schema or not name.strip() or (dot and not schema.strip()):
            raise ValueError("table: write table or schema.table")
        return schema or None, name

    def database_url(self) -> str:
        """The URL, read anew if it is in a file."""
        if self.url is not None:
            return self.url.get_secret_value()
        return Path(self.url_file or "").read_text(encoding="utf-8").strip()
