"""Events with what is known about one of their fields: from a file, over HTTP, or from a topic."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, FilePath, model_validator

from service.errors import PermanentError, SchemaError
from service.events import Event
from service.handlers import fields
from service.handlers.context import HandlerContext
from service.handlers.http import CLIENT_KEY, RequestHeaders, open_session
from service.handlers.spec import handler
from service.state.keyed import KeyedState, Partition

if TYPE_CHECKING:
    from service.handlers.lookup import RemoteTable


class HttpLookup(BaseModel):
    """A lookup over HTTP, remembered for a while."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(pattern=r"^https?://.*\{key\}", description="With `{key}` in it, GET, JSON.")
    headers: RequestHeaders = Field(default_factory=dict, description="Sent with each request.")
    request_timeout_s: float = Field(default=2.0, gt=0, description="Longest request.")
    cache_ttl_s: float = Field(default=300.0, ge=0, description="How long an answer is believed.")
    cache_keys: int = Field(
        default=10_000, ge=1, description="Answers remembered at most, and 16 MiB of them."
    )

    @model_validator(mode="after")
    def _client(self) -> Self:
        if find_spec("aiohttp") is None:
            raise ValueError("needs the extra: pip install 'headrace[http]'")
        return self


class EnrichOptions(BaseModel):
    """Options of ``enrich``; one of ``file``, ``http`` and ``topic``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: fields.Path = Field(description="Field whose value is looked up.")
    into: str = Field(min_length=1, description="Field that gets what was found.")
    missing: Literal["pass", "drop", "dead_letter"] = Field(
        default="pass", description="What to do with an event for which nothing is found."
    )
    file: FilePath | None = Field(default=None, description="A JSON object, by key.")
    http: HttpLookup | None = Field(default=None, description="A service that knows.")
    topic: str | None = Field(
        default=None,
        description="A compacted topic of this pipeline's source, with as many partitions and the "
        "same keys as the events'; in one process only.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(place is not None for place in (self.file, self.http, self.topic)) != 1:
            raise ValueError("give one of file, http and topic")
        self.table()
        return self

    def table(self) -> dict[str, Any]:
        """What the file holds."""
        try:
            table: Any = orjson.loads(b"{}" if self.file is None else self.file.read_bytes())
        except orjson.JSONDecodeError as error:
            raise ValueError(f"file: not JSON: {error}") from None
        if not isinstance(table, dict):
            raise ValueError("file: not a JSON object")  # noqa: TRY004 -- pydantic's own word
        return table


@handler("enrich", options=EnrichOptions, tombstones=True)
class Enrich:
    """The event with one more field.

    With ``topic``, the records of that topic are the table: they are remembered, not published,
    and a tombstone removes its key.  A key's events and its row must be in partitions of the same
    number.
    """

    def __init__(self, options: EnrichOptions) -> None:
        self._options = options
        self._key = fields.text(options.field)
        self._table = options.table()
        self._remote: RemoteTable | None = None
        self._state: KeyedState

    async def open(self, context: HandlerContext) -> None:
        """Get the state or the session, whichever is needed."""
        if self._options.topic is not None:
            self._state = context.state("table", max_keys=10_000_000)
        http = self._options.http
        if http is not None:
            from service.handlers.lookup import HttpPeer, RemoteTable  # noqa: PLC0415 -- an extra

            peer = HttpPeer(await context.client(CLIENT_KEY, open_session), http)
            self._remote = RemoteTable(peer.ask, ttl_s=http.cache_ttl_s, max_keys=http.cache_keys)

    async def __call__(self, event: Event) -> dict[str, Any] | None:
        """The enriched event, or ``None``.

        Raises:
            SchemaError: If the event has no key to look up.
            TransientError: If the lookup may work later.
            PermanentError: If nothing is found and that is not allowed.
        """
        if event.topic == self._options.topic:
            self._learn(event)
            return None
        if event.data is None:
            return None
        if not isinstance(event.data, dict):
            raise SchemaError("", "not an object")
        found = await self._look_up(event, self._key(event.data))
        if found is None and self._options.missing == "drop":
            return None
        if found is None and self._options.missing == "dead_letter":
            raise PermanentError(f"nothing is known about {self._options.field}")
        return {**event.data, self._options.into: found}

    def _learn(self, event: Event) -> None:
        if event.data is None:
            self._state.delete(event, event.key_text)
        else:
            self._state.put(event, event.key_text, event.data)

    async def _look_up(self, event: Event, key: str) -> Any:
        if self._options.topic is not None:
            return self._state.get(Partition(self._options.topic, event.partition), key)
        if self._remote is not None:
            return await self._remote.get(key)
        return self._table.get(key)
